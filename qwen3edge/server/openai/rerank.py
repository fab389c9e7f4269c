"""`POST /v1/rerank` and its other names, in Jina's form and in Cohere's: a response has the keys of both."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from qwen3edge.server.clients import while_connected
from qwen3edge.server.openai.head import identity
from qwen3edge.server.parameters import Body, Ignored, Listed
from qwen3edge.server.route import post, router
from qwen3edge.server.service import service
from qwen3edge.server.sse import JsonResponse
from qwen3edge.server.states import MOST_TEXTS, Scored, rerank

COHERE = "/v2/rerank"

routes = router("rerank")


class Document(Body):
    """One that is an object, as Jina allows it."""

    text: str


class RerankBody(Body):
    """Of /v1/rerank and /v2/rerank. instruction: what makes a document right. top_n: of the results, the best."""

    model: str | None = None
    query: str
    documents: Listed[str | Document] = Field(min_length=1, max_length=MOST_TEXTS)
    instruction: str | None = None
    top_n: int | None = Field(None, ge=1)
    return_documents: bool | None = None
    priority: Ignored = None


@post(routes, RerankBody, "/v1/rerank", "/rerank", "/v1/reranking", "/reranking", COHERE)
async def reranking(request: Request) -> Response:
    """How likely each document is right for a query, the best first. Documents come back unless the path is Cohere's,
    or where they are asked for.
    """
    to = service(request)
    body = await to.read(request, RerankBody)
    texts = [each if isinstance(each, str) else each.text for each in body.documents]
    found = await while_connected(request.receive, rerank(to.models, body.model, body.query, texts, body.instruction))
    returns = request.url.path != COHERE if body.return_documents is None else body.return_documents
    return JsonResponse(_response(found, texts if returns else None, body.top_n))


def _response(found: Scored, texts: list[str] | None, top_n: int | None) -> dict[str, Any]:
    best = sorted(range(len(found.scores)), key=lambda index: -found.scores[index])[:top_n]
    return {
        "id": identity("rerank-"),
        "object": "list",
        "model": found.model,
        "results": [
            {
                "index": index,
                "relevance_score": found.scores[index],
                **({} if texts is None else {"document": {"text": texts[index]}}),
            }
            for index in best
        ],
        "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": found.tokens, "output_tokens": 0},
        },
    }
