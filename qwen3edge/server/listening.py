"""The process's side of a server: its socket, and its end."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

MOST_HEADERS = 1 << 16
"""Bytes of a request's line and headers."""


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens, so that clients may come while a model is loaded. port 0: any. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def address(listening: socket.socket) -> str:
    """As a URL."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: FastAPI, listening: socket.socket, *, grace_seconds: int, ready: Callable[[], None]) -> None:
    """Serves until SIGTERM or SIGINT. Streams may then go on for so many seconds; what still runs is told that the
    server stops.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http="h11",
        ws="none",
        loop="asyncio",
        h11_max_incomplete_event_size=MOST_HEADERS,
        timeout_graceful_shutdown=grace_seconds,
    )
    server = _Server(config, ready)
    server.run(sockets=[listening])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()
