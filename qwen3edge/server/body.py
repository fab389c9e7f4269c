"""A request's body on its way in: bounded in bytes, time, depth and values before anything is made of it."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qwen3edge.server.errors import BodyError, EncodingError, InUseError, ServerError, TooLargeError, TooSlowError

MOST_DEPTH = 100
MOST_VALUES = 250_000
"""Of a body: a small one could take much memory otherwise."""
MOST_AT_ONCE = 4
"""So many largest bodies may be held by requests that wait or run."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
"""One without an end goes on to the body's: a search that begins anew behind each quote would take quadratic time."""
_OUTSIDE = re.compile(rb"[^\[\]{},]+")


@dataclass
class Limits:
    """largest: bytes of a body. receive_seconds: in which it must have come."""

    largest: int
    receive_seconds: float = 30.0


@dataclass
class _Held:
    """What has come of a body."""

    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    whole: bool = False


class Bounded:
    """An ASGI application whose requests have come as a whole. What they take counts until they are answered."""

    def __init__(self, app: ASGIApp, limits: Limits, refuse: Callable[[Scope, ServerError], Response]) -> None:
        """refuse: makes the response to a request that is refused."""
        self._app, self._limits, self._refuse = app, limits, refuse
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        held = _Held()
        try:
            try:
                await asyncio.wait_for(self._take(Headers(scope=scope), receive, held), self._limits.receive_seconds)
            except asyncio.TimeoutError:
                seconds = self._limits.receive_seconds
                await self._end(TooSlowError(f"expected the whole body within {seconds:g} s"), scope, receive, send)
            except ServerError as error:
                await self._end(error, scope, receive, send)
            else:
                if held.whole:
                    await self._app(scope, _replayed(held, receive), send)
        finally:
            self._held -= held.size

    async def _take(self, headers: Headers, receive: Receive, held: _Held) -> None:
        if headers.get("content-encoding", "identity") != "identity":
            raise EncodingError("expected a body without Content-Encoding, found one")
        length = headers.get("content-length", "")
        if length.isdecimal():
            told = int(length[:20])  # more digits are as much too many
            self._require_room(told, self._held + told)
        while not held.whole:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            part = message.get("body", b"")
            held.size += len(part)
            self._held += len(part)
            self._require_room(held.size, self._held)
            held.parts.append(part)
            held.whole = not message.get("more_body", False)

    async def _end(self, error: ServerError, scope: Scope, receive: Receive, send: Send) -> None:
        response = self._refuse(scope, error)
        response.headers["Connection"] = "close"  # what still comes is not read
        await response(scope, receive, send)

    def _require_room(self, size: int, together: int) -> None:
        largest = self._limits.largest
        if size > largest:
            raise TooLargeError(f"expected a body of at most {largest} bytes, found more")
        if together > MOST_AT_ONCE * largest:
            raise InUseError("the requests that wait or run take all memory that there is for them: ask again later")


def parsed(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises BodyError."""
    outside = _OUTSIDE.sub(b"", _STRING.sub(b"", body))
    values = sum(map(outside.count, (b",", b"[", b"{")))
    if values > MOST_VALUES:
        raise BodyError(f"expected a body of at most {MOST_VALUES} values, found more")
    depth = deepest = 0
    for letter in outside:
        depth += (letter in b"[{") - (letter in b"]}")
        deepest = max(depth, deepest)
    if deepest > MOST_DEPTH:
        raise BodyError(f"expected a body nested at most {MOST_DEPTH} deep, found more")
    try:
        found = json.loads(body.decode(), parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise BodyError(f"expected a body of JSON, found none ({error!s:.100})") from None
    if not isinstance(found, dict):
        raise BodyError(f"expected a JSON object as body, found {type(found).__name__}")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"{text:.20} is larger than any number here")
    return value


def _replayed(held: _Held, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """The body in one message, then what else the client says: that it left."""

    async def received() -> Message:
        if not held.parts:
            return await receive()
        body, held.parts = b"".join(held.parts), []
        return {"type": "http.request", "body": body, "more_body": False}

    return received
