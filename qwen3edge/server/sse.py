"""Server-sent events: a stream that says it is alive while nothing comes, and that ends with its client."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from qwen3edge.server.answering import Answers
from qwen3edge.server.clients import disconnected
from qwen3edge.server.errors import StoppingError

KEEP_ALIVE_SECONDS = 10.0
"""Of silence, after which a comment is sent: clients and proxies give up on connections that say nothing."""


def data(value: object, event: str | None = None) -> bytes:
    """One event, in JSON."""
    name = "" if event is None else f"event: {event}\n"
    return f"{name}data: {to_json(value)}\n\n".encode("utf-8", "replace")


def to_json(value: object) -> str:
    """On one line, with letters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class JsonResponse(JSONResponse):
    """A JSON value."""

    def render(self, content: Any) -> bytes:
        return to_json(content).encode("utf-8", "replace")


class Streamed(Response):
    """The answers to a request, piece by piece. When the client leaves they end within a step, wherever they are."""

    def __init__(
        self,
        answers: Answers,
        write: Callable[[Answers], AsyncGenerator[bytes, None]],
        *,
        failed: Callable[[Exception], bytes],
        headers: dict[str, str] | None = None,
        media_type: str = "text/event-stream",
        keep_alive: bytes | None = b": keep-alive\n\n",
    ) -> None:
        """write: the events in an API's form. failed: the last piece, where something went wrong. keep_alive: what
        clients pass over; None: nothing is.
        """
        super().__init__(media_type=media_type, headers={**(headers or {}), "Cache-Control": "no-cache"})
        del self.headers["content-length"]
        self._answers, self._write, self._failed, self._keep_alive = answers, write, failed, keep_alive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def put(piece: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": piece, "more_body": more})

        left = asyncio.ensure_future(disconnected(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with contextlib.aclosing(self._write(self._answers)) as pieces:
                try:
                    async for piece in _until(left, pieces, self._keep_alive):
                        await put(piece)
                except asyncio.CancelledError:  # the time of grace is over
                    await put(self._failed(StoppingError()), False)
                    return
                except Exception as error:
                    await put(self._failed(error))
            if not left.done():
                await put(b"", False)
        finally:
            left.cancel()
            await self._answers.aclose()


async def _until(
    left: asyncio.Future[None], pieces: AsyncGenerator[bytes, None], keep_alive: bytes | None
) -> AsyncIterator[bytes]:
    """The pieces, until the client has left; between them what keeps the connection alive."""
    while not left.done():
        coming = asyncio.ensure_future(pieces.__anext__())
        try:
            while not coming.done():
                await asyncio.wait((coming, left), timeout=KEEP_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if left.done():
                    return
                if not coming.done() and keep_alive is not None:
                    yield keep_alive
        finally:
            if not coming.done():
                coming.cancel()
                await asyncio.wait((coming,))
        try:
            piece = coming.result()
        except StopAsyncIteration:
            return
        yield piece
