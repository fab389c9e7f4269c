"""Servers for real clients: on the tiny model, and on one that says what a test has written down."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from tests.generation.fakes import CALL, CALLED, END, ids
from tests.server.scripted import Scripted


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No client reaches beyond this machine, nor finds a key of its user's."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")


@pytest.fixture(scope="module")
def url(serve):
    """Of `qwen3edge serve` on the tiny model."""
    aliases = ("--alias", "tiny=int4", "--alias", "text-embedding-3-small=int4")
    return str(serve(*aliases, "--sequences", "4").base_url).rstrip("/")


@pytest.fixture(scope="module")
def tiny_url(url):
    """Of its OpenAI's API."""
    return f"{url}/v1"


@contextlib.contextmanager
def running(app) -> Iterator[str]:
    """The application's URL, served by a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", http="h11", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


class Told:
    """A server whose model says what it is told to. url: of OpenAI's API; root: of the others."""

    def __init__(self, server: Scripted, url: str) -> None:
        self._core, self.root, self.url = server.core, url, f"{url}/v1"

    def will_say(self, *answers: list[int]) -> None:
        """One answer to each request that comes."""
        self.say([token for answer in answers for token in [*answer, END]])

    def say(self, script: list[int]) -> None:
        """These tokens, once."""
        self._core.script, self._core.said = script, 0


def text(said: str) -> list[int]:
    """An answer."""
    return ids(said)


def call(name: str, arguments: str) -> list[int]:
    """An answer that calls a tool."""
    return [CALL, *ids(f'\n{{"name": "{name}", "arguments": {arguments}}}\n'), CALLED]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A server of a model that says what a test has written down, on a port."""
    with (
        Scripted(tmp_path_factory.mktemp("scripted"), context=16384, chunk=512) as server,
        running(server.app) as url,
    ):
        yield Told(server, url)
