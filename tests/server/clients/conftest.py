"""Servers for real clients, on real connections."""

from __future__ import annotations

import threading

import pytest
import uvicorn

from qwen3edge.server import listening
from tests.server.scripted import Scripted


@pytest.fixture(autouse=True, scope="session")
def no_proxy():
    """Clients would send requests to this machine through one."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, "*")
        yield


@pytest.fixture(scope="module")
def url(serve, no_proxy):
    """Of `qwen3edge serve` on the tiny model, which is called "tiny"."""
    return str(serve("--alias", "tiny=int4", "--sequences", "4").base_url)


class Said:
    """A server whose model says what a test has written down. url: of it."""

    def __init__(self, server: Scripted, url: str) -> None:
        self._core, self.url = server.core, url

    def say(self, script: list[int]) -> None:
        """From now on, once."""
        self._core.script, self._core.said = script, 0


@pytest.fixture(scope="module")
def said(tmp_path_factory, no_proxy):
    """The model is called "scripted"."""
    server = Scripted(tmp_path_factory.mktemp("said"))
    with listening.bound("127.0.0.1", 0) as socket:
        running = uvicorn.Server(uvicorn.Config(server.app, log_level="warning", ws="none"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [socket]})
        thread.start()
        yield Said(server, listening.address(socket))
        running.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
