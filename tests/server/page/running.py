"""A server on loopback whose model says what a test has written down, at the pace of people."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from qwen3edge.server import listening
from qwen3edge.server.app import make_app
from qwen3edge.server.safety import Access
from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, ids
from tests.server.scripted import Scripted


class Running:
    """pause: seconds a token. keys: of the server."""

    def __init__(self, folder: Path, keys: tuple[str, ...] = (), context: int = 2000) -> None:
        self.scripted = Scripted(folder, context=context)
        self.pause = 0.0
        core = self.scripted.core
        core.forward = self._paced(core.forward)
        self._app = make_app(self.scripted.models, self.scripted.metrics, Access(keys=keys))
        self._socket = listening.bound("127.0.0.1", 0)
        self.url = listening.address(self._socket) + "/"
        self._start()

    def _start(self) -> None:
        config = uvicorn.Config(
            self._app, log_level="warning", access_log=False, ws="none", lifespan="off", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()

    def says(self, content: str, thoughts: str = "", call: str = "") -> None:
        """What the model answers next."""
        thinks = [OPEN, *ids(thoughts), CLOSE, *ids("\n\n")] if thoughts else []
        calls = [CALL, *ids(call), CALLED] if call else []
        self.scripted.core.script, self.scripted.core.said = [*thinks, *ids(content), *calls, END], 0

    def go_away(self) -> None:
        """As a server that was killed: connections end, and nobody takes new ones."""
        self._port = self._socket.getsockname()[1]
        for each in list(self._server.server_state.connections):
            each.loop.call_soon_threadsafe(each.transport.abort)
        self._server.force_exit = self._server.should_exit = True
        self._thread.join(timeout=20)
        self._socket.close()

    def come_back(self) -> None:
        """At the same address."""
        self._socket = listening.bound("127.0.0.1", self._port)
        self._start()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=20)
        self._socket.close()
        self.scripted.models.close()

    def _paced(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def paced(tokens: Any, *others: Any, **options: Any) -> Any:
            if len(tokens) == 1:  # not a prompt
                time.sleep(self.pause)
            return forward(tokens, *others, **options)

        return paced
