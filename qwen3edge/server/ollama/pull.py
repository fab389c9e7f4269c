"""`POST /api/pull`: fetches a model from its hub, packs it, and serves it. Only where the server allows that."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from qwen3edge.hub.child import child_environment, failure, pull_command
from qwen3edge.hub.model_name import ModelName
from qwen3edge.server.clients import while_connected
from qwen3edge.server.errors import BodyError, ClientLeftError, ForbiddenError, InUseError, problem
from qwen3edge.server.hosted import LATEST, without_hub
from qwen3edge.server.ollama.errors import error_body
from qwen3edge.server.ollama.lines import NDJSON, line
from qwen3edge.server.parameters import Body, Ignored
from qwen3edge.server.route import post, router
from qwen3edge.server.service import Service, service
from qwen3edge.server.sse import JsonResponse

_DOING = {"listing": "pulling manifest", "checking": "verifying sha256 digest", "waiting": "waiting for another pull"}
_LONGEST_LINE = 1 << 20

routes = router("Ollama")


class PullBody(Body):
    """Of /api/pull. name: an older word for the model. insecure: connections are always as safe as they can be."""

    model: str | None = None
    name: str | None = None
    stream: bool = True
    insecure: Ignored = None
    username: Ignored = None
    password: Ignored = None

    @property
    def wanted(self) -> ModelName:
        """Raises BodyError, RequestError."""
        name = self.model or self.name
        if not name:
            raise BodyError("model: expected the name of a model, found none", "model")
        return ModelName.parse(without_hub(name).removesuffix(LATEST))


@post(routes, PullBody, "/api/pull")
async def pull(request: Request) -> Response:
    """How far it is, line by line. When the client leaves, it ends; what has come is there for the next time."""
    to = service(request)
    body = await to.read(request, PullBody)
    if not to.pulls:
        raise ForbiddenError(
            "expected a server that fetches models for its clients (--allow-pull), found one that does not"
        )
    name = body.wanted
    if to.pulling.locked():
        raise InUseError("another model is being pulled: ask again later")
    if body.stream:
        return _Progress(to, name)
    return JsonResponse(await while_connected(request.receive, _last(to, name)))


class _Progress(Response):
    """A line a step, as long as the client reads."""

    def __init__(self, to: Service, name: ModelName) -> None:
        super().__init__(media_type=NDJSON, headers={"Cache-Control": "no-cache"})
        del self.headers["content-length"]
        self._to, self._name = to, name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        with contextlib.suppress(ClientLeftError):
            await while_connected(receive, self._tell(send))

    async def _tell(self, send: Send) -> None:
        async def put(text: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": text, "more_body": more})

        try:
            async with contextlib.aclosing(_steps(self._to, self._name)) as steps:
                async for step in steps:
                    await put(line(step))
        except Exception as error:  # the stream has begun
            await put(line(error_body(problem(error))))
        await put(b"", False)


async def _last(to: Service, name: ModelName) -> dict[str, Any]:
    step: dict[str, Any] = {}
    async with contextlib.aclosing(_steps(to, name)) as steps:
        async for step in steps:  # noqa: B007
            pass
    return step


async def _steps(to: Service, name: ModelName) -> AsyncGenerator[dict[str, Any], None]:
    """In Ollama's words. Raises HubError, as `Models.add`."""
    async with to.pulling:
        told: dict[str, Any] = {}
        child = await asyncio.create_subprocess_exec(
            *pull_command(name, quiet=True), stdin=DEVNULL, stdout=PIPE, env=child_environment(), limit=_LONGEST_LINE
        )
        try:
            assert child.stdout is not None
            async for text in child.stdout:
                told = json.loads(text)
                if "doing" in told:
                    yield _step(name, told)
            status = await child.wait()
        finally:
            await _end(child)
        if status:
            raise failure(name, told.get("error", ""), status)
        yield {"status": "writing manifest"}
        await to.models.add(str(name), Path(told["path"]))
        yield {"status": "success"}


async def _end(child: Process) -> None:
    """With all that it still says: its pipe is open until then."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        await child.communicate()


def _step(name: ModelName, told: dict[str, Any]) -> dict[str, Any]:
    """Clients show a bar for each digest."""
    doing = told["doing"]
    if doing in _DOING:
        return {"status": _DOING[doing]}
    digest = hashlib.sha256(f"{name} {doing}".encode()).hexdigest()
    status = f"pulling {digest[:12]}" if doing == "downloading" else f"{doing} {told['what']}"
    return {"status": status, "digest": f"sha256:{digest}", "total": told["total"], "completed": told["done"]}
