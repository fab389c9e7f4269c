"""Endpoints: how they are added, and how what they raise becomes a response in their API's form."""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from qwen3edge.server.errors import ClientLeftError, Problem, StoppingError, problem
from qwen3edge.server.parameters import Body
from qwen3edge.server.sse import JsonResponse

log = logging.getLogger("qwen3edge.server")

Form = Callable[[Problem], Mapping[str, Any]]
"""The body of an error in an API's form."""
Endpoint = Callable[[Request], Awaitable[Response]]

SCHEMAS = "#/components/schemas/"
REQUEST_ID = "request-id"
"""The header by which a client may speak of its request."""


def refusal(scope: Scope, error: Exception) -> Response:
    """The response to a request that failed. Errors that are none of ours are logged, without what they say: that may
    be a client's text.
    """
    found = problem(error)
    if found.status == 500:
        frames = "".join(traceback.format_tb(error.__traceback__))
        log.error("%s %s failed with %s at\n%s", scope["method"], scope["path"], type(error).__name__, frames)
    form: Form = scope["app"].state.form_of(scope["path"])
    return JsonResponse(form(found), found.status, headers={**found.headers, REQUEST_ID: found.request_id})


class _Route(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Any]:
        handler = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                response: Response = await handler(request)
            except ClientLeftError as error:
                return Response(status_code=error.status)  # nobody reads it
            except asyncio.CancelledError:  # the time of grace is over
                return refusal(request.scope, StoppingError())
            except Exception as error:
                return refusal(request.scope, error)
            return response

        return handled


def router(tag: str) -> APIRouter:
    """For the endpoints of an API. tag: its name in the document."""
    return APIRouter(route_class=_Route, tags=[tag])


def get(to: APIRouter, *paths: str) -> Callable[[Endpoint], Endpoint]:
    """Adds an endpoint that takes no body."""
    return _adds(to, "GET", paths, None)


def delete(to: APIRouter, *paths: str) -> Callable[[Endpoint], Endpoint]:
    """Adds an endpoint that takes no body."""
    return _adds(to, "DELETE", paths, None)


def post(to: APIRouter, kind: type[Body], *paths: str) -> Callable[[Endpoint], Endpoint]:
    """Adds an endpoint that takes such a body."""
    extra = {"required": True, "content": {"application/json": {"schema": {"$ref": SCHEMAS + kind.__name__}}}}
    return _adds(to, "POST", paths, {"requestBody": extra}, kind)


def _path_parameters(path: str) -> list[dict[str, Any]]:
    """Of the document: endpoints read them themselves."""
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)", path)
    ]


BODIES: dict[str, type[Body]] = {}
"""By the endpoint's first path: the table of parameters, and of the document."""


def _adds(
    to: APIRouter, method: str, paths: tuple[str, ...], extra: dict[str, Any] | None, kind: type[Body] | None = None
) -> Callable[[Endpoint], Endpoint]:
    def add(endpoint: Endpoint) -> Endpoint:
        for path in paths:
            to.add_api_route(
                path,
                endpoint,
                methods=[method],
                openapi_extra={**(extra or {}), "parameters": _path_parameters(path)},
                response_class=JsonResponse,
                responses={"4XX": {"description": "an error in this API's form, which says what was expected"}},
                operation_id=f"{method.lower()}{path.replace('/', '_')}",
            )
        if kind is not None:
            BODIES[paths[0]] = kind
        return endpoint

    return add
