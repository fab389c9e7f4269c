"""A browser, and servers for it to look at."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.server.page.running import Running
from tests.server.page.visitor import visiting

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser():
    """A Chromium of the system. QWEN3EDGE_CHROMIUM: its path, if it is none of the usual. While it runs, an event loop
    runs in this thread, where the tests of other modules have their own.
    """
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("QWEN3EDGE_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip(f"expected a Chromium as one of {', '.join(_NAMES)} or in QWEN3EDGE_CHROMIUM, found none")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def server(tmp_path):
    """A scripted server, of this test alone."""
    running = Running(tmp_path)
    yield running
    running.close()


@pytest.fixture
def visitor(browser, server):
    """Somebody who looks at it."""
    with visiting(browser, server.url) as found:
        yield found
