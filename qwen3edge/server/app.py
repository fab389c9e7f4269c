"""The application: all endpoints over one service, behind what keeps others out."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qwen3edge import __version__
from qwen3edge.server.anthropic import errors as anthropic
from qwen3edge.server.body import Bounded, Limits
from qwen3edge.server.errors import MethodError, NotFoundError
from qwen3edge.server.hosted import Models
from qwen3edge.server.metrics import Metrics
from qwen3edge.server.native import status
from qwen3edge.server.ollama import errors as ollama
from qwen3edge.server.openai import chat_completions, models
from qwen3edge.server.openai.errors import error_body
from qwen3edge.server.route import Form, refusal
from qwen3edge.server.safety import Access, Guarded
from qwen3edge.server.service import Service
from qwen3edge.server.sessions import Sessions

FIRST = (chat_completions.routes, models.routes, status.routes)
"""The endpoints that are there from the start. What all others import takes as long as a short answer, so that they are
added when the first path is asked for that these do not have."""
FORMS: tuple[tuple[str, Form], ...] = (("/v1/messages", anthropic.error_body), ("/api/", ollama.error_body))
"""Of errors, by how a path begins; of all others OpenAI's."""

_IDLE_CHECK_SECONDS = 5.0


def form_of(path: str) -> Form:
    """How errors of an endpoint look."""
    return next((form for prefix, form in FORMS if path.startswith(prefix)), error_body)


def make_app(
    hosted: Models,
    metrics: Metrics,
    access: Access,
    limits: Limits | None = None,
    saved: Sessions | None = None,
) -> FastAPI:
    """An ASGI application. It closes the models when it shuts down. saved: where clients may save sessions."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        idle = asyncio.ensure_future(_unload_idle(hosted))
        try:
            yield
        finally:
            idle.cancel()
            await asyncio.to_thread(hosted.close)

    app = FastAPI(
        title="qwen3edge", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.state.service, app.state.form_of = Service(hosted, metrics, saved, pulls=access.pulls), form_of
    metrics.watch(hosted)
    for each in FIRST:
        app.include_router(each)
    app.router.default = others = _Others(app, app.router.default)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_middleware(Bounded, limits=limits or Limits(hosted.largest_body), refuse=refusal)
    app.add_middleware(Guarded, access=access, refuse=refusal)
    app.add_middleware(_Counted, metrics=metrics)
    app.openapi = others.document  # type: ignore[method-assign]
    return app


class _Others:
    """What answers where the endpoints so far have no such path."""

    def __init__(self, app: FastAPI, unknown: ASGIApp) -> None:
        self._app, self._unknown = app, unknown
        self._added = False
        self._adding = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._added or scope["type"] != "http":
            await self._unknown(scope, receive, send)
        else:
            await asyncio.to_thread(self._add)
            await self._app.router.app(scope, receive, send)

    def document(self) -> dict[str, Any]:
        self._add()
        return import_module("qwen3edge.server.document").document(self._app)  # type: ignore[no-any-return]

    def _add(self) -> None:
        with self._adding:
            if not self._added:
                for each in import_module("qwen3edge.server.endpoints").OTHERS:
                    self._app.include_router(each)
                self._added = True


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 405:
        return refusal(request.scope, MethodError(f"expected another method than {request.method} for {path:.200}"))
    return refusal(request.scope, NotFoundError(f"expected a path of this server, found {path:.200}"))


async def _unload_idle(hosted: Models) -> None:
    while True:
        await asyncio.sleep(_IDLE_CHECK_SECONDS)
        await hosted.unload_idle()


class _Counted:
    """Counts responses by their status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.count_response(message["status"])
            await send(message)

        await self._app(scope, receive, sent)
