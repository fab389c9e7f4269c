"""`GET /v1/models`: what is served, and what of it is in memory."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qwen3edge.server.hosted import Models
from qwen3edge.server.route import get, router
from qwen3edge.server.service import service
from qwen3edge.server.sse import JsonResponse

routes = router("OpenAI")


@get(routes, "/v1/models", "/models")
async def models(request: Request) -> Response:
    """All of them. The key `models`, with the same, is for Codex."""
    served = service(request).models
    listed = [_model(served, name) for name in served.names]
    return JsonResponse({"object": "list", "data": listed, "models": listed})


@get(routes, "/v1/models/{name:path}")
async def model(request: Request) -> Response:
    """One of them."""
    return JsonResponse(_model(service(request).models, request.path_params["name"]))


def _model(served: Models, name: str) -> dict[str, Any]:
    found = served.find(name)
    return {
        "id": name,
        "object": "model",
        "created": int(found.modified),
        "owned_by": "qwen3edge",
        "loaded": found.model is not None,
        "context_length": found.context,
    }
