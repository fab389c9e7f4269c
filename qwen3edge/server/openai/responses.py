"""`POST /v1/responses`, of which nothing is kept: each has the whole conversation as its input."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qwen3edge.server.openai.response_body import ResponsesBody
from qwen3edge.server.openai.response_output import ResponseOutput
from qwen3edge.server.route import post, router
from qwen3edge.server.service import service
from qwen3edge.server.sse import JsonResponse, Streamed, data
from qwen3edge.server.tools import left_out, own_tools

routes = router("OpenAI")


@post(routes, ResponsesBody, "/v1/responses", "/responses")
async def responses(request: Request) -> Response:
    """One answer to a conversation, as a list of items: thoughts, text, calls."""
    to = service(request)
    body = await to.read(request, ResponsesBody)
    asked, headers = body.request(), left_out(own_tools(body.tools)[1])
    answers = await to.begin(request, asked)
    output = ResponseOutput(body, answers)
    if not body.stream:
        return JsonResponse(await to.whole(request, answers, output.whole()), headers=headers)
    return Streamed(
        answers, lambda answers: _stream(output), failed=lambda error: _named(output.failed(error)), headers=headers
    )


async def _stream(output: ResponseOutput) -> AsyncGenerator[bytes, None]:
    async with aclosing(output.events()) as events:
        async for event in events:
            yield _named(event)


def _named(event: dict[str, Any]) -> bytes:
    return data(event, event["type"])
