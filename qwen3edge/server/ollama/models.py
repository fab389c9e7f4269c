"""What is served, as Ollama lists it: `/api/tags`, `/api/show`, `/api/ps`, `/api/version`."""

from __future__ import annotations

import math
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qwen3edge import __version__
from qwen3edge.server.clients import while_connected
from qwen3edge.server.errors import BodyError
from qwen3edge.server.hosted import LATEST, Models, Served
from qwen3edge.server.ollama.facts import digest, facts
from qwen3edge.server.ollama.lines import moment
from qwen3edge.server.parameters import Body, Ignored
from qwen3edge.server.route import get, post, router
from qwen3edge.server.service import service
from qwen3edge.server.sse import JsonResponse

VERSION = "0.12.11"
"""Of Ollama, whose API this is: some clients, such as VS Code's Copilot, demand a recent one."""
_NEVER = "9999-12-31T23:59:59Z"
_NO_DETAILS = {
    **dict.fromkeys(("parent_model", "format", "family", "parameter_size", "quantization_level"), ""),
    "families": [],
}

routes = router("Ollama")


class ShowBody(Body):
    """Of /api/show. name: an older word for the model."""

    model: str | None = None
    name: str | None = None
    verbose: Ignored = None


@get(routes, "/api/tags")
async def tags(request: Request) -> Response:
    """All models, in memory or not."""
    models = service(request).models
    found = await while_connected(request.receive, models.reading(lambda: [_listed(models, n) for n in models.names]))
    return JsonResponse({"models": found})


@get(routes, "/api/ps")
async def ps(request: Request) -> Response:
    """Those in memory, and until when."""
    models = service(request).models
    loaded = list(models.loaded)
    found = await while_connected(request.receive, models.reading(lambda: [_running(models, n) for n in loaded]))
    return JsonResponse({"models": found})


@post(routes, ShowBody, "/api/show")
async def show(request: Request) -> Response:
    """What a model is, what it can do, and how long its conversations may be."""
    to = service(request)
    body = await to.read(request, ShowBody)
    name = body.model or body.name
    if not name:
        raise BodyError("model: expected the name of a model, found none", "model")
    served = to.models.find(name)
    return JsonResponse(await while_connected(request.receive, to.models.reading(lambda: _shown(served))))


@get(routes, "/api/version")
async def version(request: Request) -> Response:
    """Of Ollama's API that is spoken here, and of this server."""
    return JsonResponse({"version": VERSION, "qwen3edge": __version__})


def tagged(name: str) -> str:
    """As Ollama writes a name, which always says which of several models is meant."""
    return name if ":" in name else f"{name}{LATEST}"


def _listed(models: Models, name: str) -> dict[str, Any]:
    served = models.find(name)
    found = facts(served)
    return {
        "name": tagged(name),
        "model": tagged(name),
        "modified_at": moment(served.modified),
        "size": 0 if found is None else found.nbytes,
        "digest": digest(served),
        "details": _NO_DETAILS if found is None else found.details,
    }


def _running(models: Models, name: str) -> dict[str, Any]:
    """size: what it takes of the memory."""
    served, listed = models.find(name), _listed(models, name)
    del listed["modified_at"]
    plan, seconds = served.plan, models.idle_seconds(served)
    begin = time.monotonic() if served.users else served.last_used
    stays = seconds is None or math.isinf(seconds)
    return {
        **listed,
        "size": plan.peak - plan.program,
        "expires_at": _NEVER if stays else moment(time.time() + begin + (seconds or 0) - time.monotonic()),
        "size_vram": 0,
        "context_length": served.context,
    }


def _shown(served: Served) -> dict[str, Any]:
    """context_length: what a conversation may have here, which clients go by; the model may be trained for more."""
    found = facts(served)
    if found is None:
        return {"details": _NO_DETAILS, "model_info": {}, "capabilities": [], "modified_at": moment(served.modified)}
    config = found.config
    family = config.model_type
    numbers = {
        "context_length": served.context,
        "embedding_length": config.hidden_size,
        "block_count": config.layers,
        "attention.head_count": config.heads,
        "attention.head_count_kv": config.kv_heads,
        "feed_forward_length": config.ffn_size or config.expert_ffn_size,
        "vocab_size": config.vocab_size,
    }
    return {
        "modelfile": f"FROM {served.name}\n",
        "parameters": "\n".join(f"{name} {value:g}" for name, value in found.sampling.items()),
        "template": found.template,
        "license": "",
        "details": found.details,
        "model_info": {
            "general.architecture": family,
            "general.basename": served.name,
            "general.parameter_count": found.weights,
            **{f"{family}.{name}": number for name, number in numbers.items()},
        },
        "capabilities": found.capabilities,
        "modified_at": moment(served.modified),
    }
