"""How the server is: `/health`, `/metrics`, `/props`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qwen3edge import __version__, _core
from qwen3edge.generation.model import Model
from qwen3edge.server.hosted import SERVER_BYTES, Models, Served
from qwen3edge.server.metrics import CONTENT_TYPE
from qwen3edge.server.route import get, router
from qwen3edge.server.service import service
from qwen3edge.server.sse import JsonResponse

_KINDS = ("weights", "kv_cache", "scratch", "buffers", "draft")

routes = router("server")


@get(routes, "/health", "/v1/health")
async def health(request: Request) -> Response:
    """That it runs. Needs no key."""
    return JsonResponse({"status": "ok"})


@get(routes, "/metrics")
async def metrics(request: Request) -> Response:
    """Counts and times in Prometheus' form."""
    return Response(service(request).metrics.text(), media_type=CONTENT_TYPE)


@get(routes, "/props")
async def props(request: Request) -> Response:
    """Models, how they sample by default, and the memory by kind against the budget. The first model's properties stand
    once more where llama.cpp's server has them.
    """
    models = service(request).models
    listed = {name: _model(models.find(name)) for name in models.names}
    first = next(iter(listed.values()))
    return JsonResponse(
        {
            "build_info": f"qwen3edge {__version__}",
            "total_slots": first["sequences"],
            "default_generation_settings": {"n_ctx": first["context"], "params": first["sampling"]["direct"]},
            "chat_template": first["chat_template"],
            "memory": _memory(models),
            "models": listed,
        }
    )


def _memory(models: Models) -> dict[str, Any]:
    """planned: by what it is for, of the models in memory together; the program is one, whatever it serves."""
    plans = [model.plan for model in models.loaded.values()]
    planned = {kind: sum(getattr(plan, kind) for plan in plans) for kind in _KINDS}
    return {
        "budget": models.budget,
        "resident": _core.resident_bytes(),
        "peak": _core.peak_resident_bytes(),
        "planned": {**planned, "program": max((plan.program for plan in plans), default=0), "server": SERVER_BYTES},
    }


def _model(served: Served) -> dict[str, Any]:
    found: Model | None = served.model
    settings = served.settings
    props: dict[str, Any] = {
        "loaded": found is not None,
        "context": served.context,
        "sequences": settings.get("sequences", 1),
        "plan": served.plan.as_dict(),
        "sampling": {"thinking": None, "direct": None},
        "chat_template": None,
        "thinks": None,
    }
    if found is None:
        return props
    defaults, template = found.sampling_defaults, found.prompt_builder.template
    return props | {
        "sampling": {"thinking": defaults.thinking.numbers, "direct": defaults.direct.numbers},
        "chat_template": None if template is None else template.source,
        "thinks": found.thinks,
        "switches_thinking": template is not None and found.thinks and template.switches_thinking,
        "counts": dict(found.engine.scheduler.counts),
        "config": asdict(found.config),
    }
