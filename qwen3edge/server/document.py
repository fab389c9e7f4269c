"""The OpenAPI document, with the bodies that endpoints read themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from qwen3edge.server.anthropic import answer_schemas as anthropic_answers
from qwen3edge.server.anthropic import errors as anthropic
from qwen3edge.server.metrics import CONTENT_TYPE
from qwen3edge.server.native import answer_schemas as native_answers
from qwen3edge.server.ollama import answer_schemas as ollama_answers
from qwen3edge.server.ollama import errors as ollama
from qwen3edge.server.ollama.lines import NDJSON
from qwen3edge.server.openai import answer_schemas as openai_answers
from qwen3edge.server.openai import errors as openai
from qwen3edge.server.route import BODIES, SCHEMAS, Form
from qwen3edge.server.safety import OPEN_PATHS, PAGE_FILES
from qwen3edge.server.schema import TEXT, constant, nullable, record

_SSE = "text/event-stream"
_STREAMS = {
    **dict.fromkeys(("/v1/chat/completions", "/chat/completions", "/v1/completions", "/completions"), _SSE),
    **dict.fromkeys(("/v1/responses", "/responses", "/v1/messages"), _SSE),
    **dict.fromkeys(("/api/chat", "/api/generate", "/api/pull"), NDJSON),
}
"""Of what a response may be beside JSON, by path."""
_TEXTS = {"/metrics": (CONTENT_TYPE.partition(";")[0],), "/": ("text/html", "text/plain")}
"""Of responses that are no JSON."""
_ANSWERS = {
    **openai_answers.ANSWERS,
    **anthropic_answers.ANSWERS,
    **ollama_answers.ANSWERS,
    **native_answers.ANSWERS,
}
_ANSWER_OF = {path: name for paths, (name, _) in _ANSWERS.items() for path in paths}
"""The schema's name, by path. No path has two methods that answer in JSON."""
_TYPED = {"message": TEXT, "type": TEXT}

_ERRORS: dict[Form, tuple[str, dict[str, Any]]] = {
    openai.error_body: (
        "OpenAIError",
        record(error=record(**_TYPED, param=nullable(TEXT), code=TEXT)),
    ),
    anthropic.error_body: (
        "AnthropicError",
        record(type=constant("error"), error=record(**_TYPED), request_id=TEXT),
    ),
    ollama.error_body: ("OllamaError", record(error=TEXT)),
}
"""By what makes them."""
_STATUSES = {
    400: "a parameter, or a prompt that does not fit",
    401: "no API key, or a wrong one",
    403: "a foreign Host or Origin",
    404: "no such model or path",
    408: "a body that does not come",
    413: "a body that is larger than any that fits",
    415: "a compressed body",
    429: "the queue or the memory is full: see Retry-After",
    500: "a fault of the server",
    503: "the server stops: see Retry-After",
}
_OF_BODIES = (408, 413, 415)
_OF_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


def document(app: FastAPI) -> dict[str, Any]:
    """Made once."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, routes=app.routes)
        kinds = [(kind, "validation") for kind in BODIES.values()]
        _, schemas = models_json_schema(kinds, ref_template=SCHEMAS + "{model}")  # type: ignore[arg-type]
        made.setdefault("components", {}).setdefault("schemas", {}).update(schemas.get("$defs", {}))
        made["components"]["schemas"].update({**dict(_ERRORS.values()), **dict(_ANSWERS.values())})
        made["components"]["schemas"].update(native_answers.PARTS)
        made["components"]["securitySchemes"] = _OF_KEYS
        for path, methods in made["paths"].items():
            for operation in methods.values():
                _tell(path, operation, SCHEMAS + _ERRORS[app.state.form_of(path)][0])
        app.openapi_schema = made
    return app.openapi_schema


def _tell(path: str, operation: dict[str, Any], error: str) -> None:
    """What an operation answers, and what it needs. error: the schema of its errors."""
    text: dict[str, Any] = {"schema": TEXT}
    kinds = ("*/*",) if path.startswith(PAGE_FILES) else _TEXTS.get(path, ())
    whole = dict.fromkeys(kinds, text) or {"application/json": {"schema": {"$ref": SCHEMAS + _ANSWER_OF[path]}}}
    if path in _STREAMS:
        whole[_STREAMS[path]] = text
    operation["responses"] = {"200": {"description": "what was asked for", "content": whole}}
    is_open = path in OPEN_PATHS or path.startswith(PAGE_FILES)
    form = {"application/json": {"schema": {"$ref": error}}}
    for status, what in _STATUSES.items():
        if (status in _OF_BODIES and "requestBody" not in operation) or (status == 401 and is_open):
            continue
        operation["responses"][str(status)] = {"description": what, "content": form}
    operation["responses"]["default"] = {"description": "another error", "content": form}
    operation["security"] = [] if is_open else [{}, *({name: []} for name in _OF_KEYS)]
