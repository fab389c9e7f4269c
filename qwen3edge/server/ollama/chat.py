"""`POST /api/chat` and `POST /api/generate`."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from qwen3edge.server.clients import while_connected
from qwen3edge.server.errors import problem
from qwen3edge.server.ollama.chat_body import GenerateBody, OllamaChatBody
from qwen3edge.server.ollama.errors import error_body
from qwen3edge.server.ollama.lines import NDJSON, Form, Piece, Told, chat_form, head, line, text_form
from qwen3edge.server.ollama.options import PreparedBody
from qwen3edge.server.request import AnswerRequest
from qwen3edge.server.route import post, router
from qwen3edge.server.service import Service, service
from qwen3edge.server.sse import JsonResponse, Streamed
from qwen3edge.server.tools import left_out, own_tools

routes = router("Ollama")


@post(routes, OllamaChatBody, "/api/chat")
async def chat(request: Request) -> Response:
    """An answer to a conversation; a stream unless `stream` is false."""
    asked_at, to = time.monotonic(), service(request)
    body = await to.read(request, OllamaChatBody)
    if not body.messages:
        return await _prepared(request, to, body, chat_form)
    headers = left_out(own_tools(body.tools)[1])
    return await _answered(request, to, body, body.request(), chat_form, asked_at, headers)


@post(routes, GenerateBody, "/api/generate")
async def generate(request: Request) -> Response:
    """An answer to a text, or what follows it, or stands between it and another."""
    asked_at, to = time.monotonic(), service(request)
    body = await to.read(request, GenerateBody)
    if not body.prompt and not body.suffix:
        return await _prepared(request, to, body, text_form)
    asked = await to.reading(request, body.model, body.middle) if body.suffix else body.request()
    return await _answered(request, to, body, asked, text_form, asked_at)


async def _answered(
    request: Request,
    to: Service,
    body: PreparedBody,
    asked: AnswerRequest,
    form: Form,
    asked_at: float,
    headers: dict[str, str] | None = None,
) -> Response:
    keeps = body.keeps
    answers = await to.begin(request, asked)
    to.models.keep(body.model, keeps)
    told = Told(form, asked_at)
    if not body.stream:
        return JsonResponse(await to.whole(request, answers, told.whole(answers)), headers=headers)
    return Streamed(
        answers,
        told.lines,
        failed=lambda error: line(error_body(problem(error))),
        headers=headers,
        media_type=NDJSON,
        keep_alive=told.idle(answers.model_name),
    )


async def _prepared(request: Request, to: Service, body: PreparedBody, form: Form) -> Response:
    """Loads the model, or unloads it."""
    models, keeps, reason = to.models, body.keeps, "load"
    if keeps == 0:
        reason = "unload"
        models.keep(body.model, 0)
        await models.unload_idle()
    else:
        (await while_connected(request.receive, models.lease(body.model))).release()
        models.keep(body.model, keeps)
    name = body.model or models.find(None).name
    return JsonResponse({**head(name), **form(Piece()), "done_reason": reason, "done": True})
