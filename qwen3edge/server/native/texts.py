"""Texts and tokens, as llama.cpp's server has it: `/tokenize`, `/detokenize`, `/apply-template`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from qwen3edge.generation.model import Model
from qwen3edge.server.answering import prompt_tokens
from qwen3edge.server.clients import while_connected
from qwen3edge.server.openai.chat_body import Conversation
from qwen3edge.server.parameters import Body, Ignored, Listed
from qwen3edge.server.route import post, router
from qwen3edge.server.service import service
from qwen3edge.server.sse import JsonResponse
from qwen3edge.text.guard import TextGuard

routes = router("server")


class TokenizeBody(Body):
    """Of /tokenize. parse_special: names of tokens in it are those tokens."""

    model: str | None = None
    content: str
    parse_special: bool = True
    with_pieces: bool = False
    add_special: Ignored = None


class DetokenizeBody(Body):
    """Of /detokenize."""

    model: str | None = None
    tokens: Listed[int]


class TemplateBody(Conversation):
    """Of /apply-template."""


@post(routes, TokenizeBody, "/tokenize")
async def tokenize(request: Request) -> Response:
    """The tokens of a text, with their bytes as text where that is asked for. As long as those of a chat may be."""
    to = service(request)
    body = await to.read(request, TokenizeBody)

    def read(model: Model) -> Response:
        TextGuard(model.tokenizer, context=model.plan.context).raw(body.content)
        tokens = model.tokenizer.encode(body.content, allow_special=body.parse_special)
        if not body.with_pieces:
            return JsonResponse({"tokens": tokens})
        pieces = [{"id": token, "piece": model.tokenizer.decode([token])} for token in tokens]
        return JsonResponse({"tokens": pieces})  # written in this thread: it may be long

    return await to.reading(request, body.model, read)


@post(routes, DetokenizeBody, "/detokenize")
async def detokenize(request: Request) -> Response:
    """The text of tokens."""
    to = service(request)
    body = await to.read(request, DetokenizeBody)
    text = await to.reading(request, body.model, lambda model: model.tokenizer.decode(body.tokens))
    return JsonResponse({"content": text})


@post(routes, TemplateBody, "/apply-template")
async def apply_template(request: Request) -> Response:
    """The prompt of a conversation, and how many tokens it has."""
    to = service(request)
    body = await to.read(request, TemplateBody)
    model, tokens = await while_connected(request.receive, prompt_tokens(to.models, body.prompt_request()))
    text = await to.models.reading(lambda: model.tokenizer.decode(tokens))
    return JsonResponse({"prompt": text, "tokens": len(tokens)})
