"""A server on a socket in this process, and clients that write bytes of their own."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

from qwen3edge.server import listening


@contextlib.contextmanager
def served(app: Any) -> Iterator[tuple[str, int]]:
    """Its address."""
    ready = threading.Event()
    with listening.bound("127.0.0.1", 0) as bound:
        server = listening.server(app, grace_seconds=2, ready=ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            assert ready.wait(10)
            yield bound.getsockname()
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


class Raw:
    """A connection."""

    def __init__(self, address: tuple[str, int], timeout: float = 10) -> None:
        self.socket = socket.create_connection(address, timeout=timeout)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def rest(self) -> bytes:
        """All that comes until the server closes, whichever way it does."""
        parts = []
        with contextlib.suppress(ConnectionError):
            while part := self.socket.recv(65536):
                parts.append(part)
        return b"".join(parts)

    def response(self) -> tuple[int, bytes]:
        """Status and body of one that the server closes behind, or that tells its length."""
        head, _, body = self._until(b"\r\n\r\n").partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if b"content-length" not in fields:
            return int(head.split()[1]), body + self.rest()
        while len(body) < int(fields[b"content-length"]):
            part = self.socket.recv(65536)
            assert part, "the response breaks off"
            body += part
        return int(head.split()[1]), body

    def _until(self, end: bytes) -> bytes:
        found = b""
        while end not in found:
            part = self.socket.recv(65536)
            assert part, f"expected a response, found {found!r}"
            found += part
        return found


def post(path: str, body: object, host: str = "localhost") -> bytes:
    """A request in JSON; bytes are a body as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
