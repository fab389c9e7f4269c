"""A client's connection: bounded in time and number, where the HTTP server itself bounds neither.

uvicorn waits for ever for a request's line and headers, and for a client that does not read its response. It
closes before a client that still sends has read why it is refused; and to what is no HTTP it does not say why.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from qwen3edge.server.errors import BodyError, InUseError, ServerError, TooSlowError, problem
from qwen3edge.server.openai.errors import error_body
from qwen3edge.server.sse import to_json

HEADER_SECONDS = 10.0
"""In which a request's line and headers must have come."""
READ_SECONDS = 60.0
"""In which a client must have read something of what it was sent."""
MOST_CONNECTIONS = 1000
LINGER_SECONDS = 2.0
"""In which a client that still sends may read that it was refused."""


class Connection(H11Protocol):
    """Between requests it has a time limit. What it is refused for before any application sees it has OpenAI's form."""

    _timer: asyncio.TimerHandle | None = None
    _lingers = _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_Lingering(transport, self))  # type: ignore[arg-type]
        if len(self.connections) > MOST_CONNECTIONS:
            self._refuse(InUseError(f"expected at most {MOST_CONNECTIONS} connections at once: ask again later"))
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._lingers:
            super().data_received(data)
            self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_timer(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_timer()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """To what is no HTTP."""
        self._refuse(BodyError(f"expected an HTTP request, found something else ({msg})"))

    def begin_lingering(self) -> bool:
        """Whether the client may still be sending. What comes is thrown away from now on, and the request, if there is
        one, has no client any more.
        """
        self._stop_timer()
        self._lingers = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        return self._refused or self.conn.their_state in (h11.SEND_BODY, h11.ERROR)

    def _watch(self) -> None:
        """A time limit while no request is answered."""
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            if not self.flow.write_paused:
                self._stop_timer()
        elif self._timer is None:
            late = TooSlowError(f"expected a request's headers within {HEADER_SECONDS:g} s")
            self._start_timer(HEADER_SECONDS, lambda: self._refuse(late))

    def _start_timer(self, seconds: float, act: Any) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, act)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, error: ServerError) -> None:
        if self.transport.is_closing():
            return
        self._refused = True
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            found = problem(error)
            body = to_json(error_body(found)).encode()
            headers = {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                "Connection": "close",
                **found.headers,
            }
            response = h11.Response(status_code=found.status, headers=list(headers.items()))
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class _Lingering:
    """A transport that closes once its client has had time to read."""

    def __init__(self, transport: asyncio.Transport, connection: Connection) -> None:
        self._transport, self._connection = transport, connection
        self._closing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if self._connection.begin_lingering() and self._transport.can_write_eof():
            self._transport.write_eof()
            self._transport.resume_reading()
            self._connection.loop.call_later(LINGER_SECONDS, self._transport.abort)
        else:
            self._transport.close()

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()
