"""The process's side of a server: its socket, and its end."""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from qwen3edge.server.connection import MOST_CONNECTIONS, Connection

MOST_HEADERS = 1 << 16
"""Bytes of a request's line and headers."""
MOST_FILES = MOST_CONNECTIONS + 200
"""That may be open; systems often allow fewer until they are asked."""


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
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < MOST_FILES:
        most = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    server(app, grace_seconds=grace_seconds, ready=ready).run(sockets=[listening])


def server(app: FastAPI, *, grace_seconds: int, ready: Callable[[], None]) -> uvicorn.Server:
    """What `run` runs."""
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http=Connection,
        ws="none",
        loop="asyncio",
        h11_max_incomplete_event_size=MOST_HEADERS,
        timeout_graceful_shutdown=grace_seconds,
    )
    return _Server(config, ready)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()
