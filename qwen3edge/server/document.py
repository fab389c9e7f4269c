"""The OpenAPI document, with the bodies that endpoints read themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from qwen3edge.server.route import BODIES, SCHEMAS


def document(app: FastAPI) -> dict[str, Any]:
    """Made once."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, routes=app.routes)
        kinds = [(kind, "validation") for kind in BODIES.values()]
        _, schemas = models_json_schema(kinds, ref_template=SCHEMAS + "{model}")  # type: ignore[arg-type]
        made.setdefault("components", {}).setdefault("schemas", {}).update(schemas.get("$defs", {}))
        app.openapi_schema = made
    return app.openapi_schema
