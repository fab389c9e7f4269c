"""Conversations saved and loaded by name: `/sessions`. A form of our own; llama.cpp's numbers slots instead."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace

from starlette.requests import Request
from starlette.responses import Response

from qwen3edge.server.answering import prompt_tokens
from qwen3edge.server.clients import to_its_end, while_connected
from qwen3edge.server.errors import NotFoundError
from qwen3edge.server.openai.chat_body import Conversation
from qwen3edge.server.parameters import Body
from qwen3edge.server.route import delete, get, post, router
from qwen3edge.server.service import Service, service
from qwen3edge.server.sessions import Sessions
from qwen3edge.server.sse import JsonResponse

routes = router("server")


class SaveBody(Conversation):
    """Of /sessions/NAME/save: a conversation as a chat has it."""


class LoadBody(Body):
    """Of /sessions/NAME/load."""

    model: str | None = None


@get(routes, "/sessions")
async def sessions(request: Request) -> Response:
    """Those that are saved."""
    found = await asyncio.to_thread(_sessions(service(request)).listed)
    return JsonResponse({"sessions": [asdict(each) for each in found]})


@post(routes, SaveBody, "/sessions/{name}/save")
async def save(request: Request) -> Response:
    """Saves a conversation, in the place of one that has its name; what is not in memory of its prompt is computed."""
    to, name = service(request), request.path_params["name"]
    saved = _sessions(to)
    saved.path(name)
    asked = (await to.read(request, SaveBody)).prompt_request()
    lease = await while_connected(request.receive, to.models.lease(asked.model))
    try:
        model, tokens = await while_connected(request.receive, prompt_tokens(to.models, asked))
        computed = replace(asked, input=tokens, options={"max_tokens": 1}, wish=None)
        _, (found,) = await to.answer(request, computed)
        about = await to_its_end(asyncio.to_thread(saved.save, name, model, tokens))
    finally:
        lease.release()
    cached = found.finished.usage.cached_tokens
    return JsonResponse({**asdict(about), "model": lease.name, "tokens": len(tokens), "cached_tokens": cached})


@post(routes, LoadBody, "/sessions/{name}/load")
async def load(request: Request) -> Response:
    """Puts a conversation back into a model's memory, for as long as there is room for it. The next chat that begins
    as it does has it in its `cached_tokens`.
    """
    to, name = service(request), request.path_params["name"]
    saved = _sessions(to)
    saved.path(name)
    body = await to.read(request, LoadBody)
    lease = await while_connected(request.receive, to.models.lease(body.model))
    try:
        tokens = await to_its_end(asyncio.to_thread(saved.load, name, lease.model))
    finally:
        lease.release()
    return JsonResponse({"name": name, "model": lease.name, "tokens": tokens})


@delete(routes, "/sessions/{name}")
async def forget(request: Request) -> Response:
    """Deletes a file. What a model has in memory stays there."""
    name = request.path_params["name"]
    await asyncio.to_thread(_sessions(service(request)).delete, name)
    return JsonResponse({"name": name, "deleted": True})


def _sessions(to: Service) -> Sessions:
    if to.sessions is None:
        raise NotFoundError("expected a server with a folder for sessions (serve --sessions DIR), found none")
    return to.sessions
