"""`POST /v1/messages`, and how many tokens its prompt would have."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from qwen3edge.server.answering import Answers, prompt_tokens
from qwen3edge.server.anthropic.blocks import events_of, whole
from qwen3edge.server.anthropic.conversation import eager_names, functions
from qwen3edge.server.anthropic.errors import error_body
from qwen3edge.server.anthropic.messages_body import MessagesBody, PromptBody
from qwen3edge.server.clients import while_connected
from qwen3edge.server.errors import new_request_id, problem
from qwen3edge.server.route import REQUEST_ID, post, router
from qwen3edge.server.service import service
from qwen3edge.server.sse import JsonResponse, Streamed, data
from qwen3edge.server.tools import left_out

PING = data({"type": "ping"}, "ping")

routes = router("Anthropic")


@post(routes, MessagesBody, "/v1/messages")
async def messages(request: Request) -> Response:
    """An answer to a conversation. The query (`?beta=true`) and the headers for versions and betas have no effect."""
    to, identity = service(request), new_request_id()
    body = await to.read(request, MessagesBody)
    asked, thoughts = body.request(), body.shows_thoughts
    headers = {REQUEST_ID: identity, **left_out(functions(body.tools)[1])}
    answers = await to.begin(request, asked)
    if not body.stream:
        message = await to.whole(request, answers, whole(events_of(answers, thoughts=thoughts)))
        return JsonResponse(message, headers=headers)
    return Streamed(
        answers,
        lambda answers: _written(answers, thoughts=thoughts, eager=eager_names(body.tools)),
        failed=lambda error: data(error_body(replace(problem(error), request_id=identity)), "error"),
        headers=headers,
        keep_alive=PING,
    )


@post(routes, PromptBody, "/v1/messages/count_tokens")
async def count_tokens(request: Request) -> Response:
    """Of the prompt of a conversation; it need not fit the context."""
    to = service(request)
    body = await to.read(request, PromptBody)
    _, tokens = await while_connected(request.receive, prompt_tokens(to.models, body.request()))
    headers = {REQUEST_ID: new_request_id(), **left_out(functions(body.tools)[1])}
    return JsonResponse({"input_tokens": len(tokens)}, headers=headers)


async def _written(answers: Answers, *, thoughts: bool, eager: Collection[str]) -> AsyncGenerator[bytes, None]:
    async with aclosing(events_of(answers, thoughts=thoughts, eager=eager)) as events:
        async for event in events:
            yield data(event, event["type"])
