"""`POST /api/embed`, and `POST /api/embeddings` of older clients."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncGenerator, Sequence

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from qwen3edge.server.clients import while_connected
from qwen3edge.server.errors import BodyError
from qwen3edge.server.ollama.lines import nanoseconds
from qwen3edge.server.ollama.options import seconds_of
from qwen3edge.server.parameters import Body, Ignored, Listed
from qwen3edge.server.route import post, router
from qwen3edge.server.service import Service, service
from qwen3edge.server.sse import to_json
from qwen3edge.server.states import MOST_TEXTS, Embedded, embed

routes = router("Ollama")


class EmbedBody(Body):
    """Of /api/embed. Truncating a text would lose a part of it, which is never done."""

    model: str | None = None
    input: str | Listed[str]
    dimensions: int | None = Field(None, ge=1)
    keep_alive: float | str | None = None
    truncate: Ignored = None
    options: Ignored = None

    @property
    def texts(self) -> Sequence[str]:
        """One or several. Raises BodyError."""
        if isinstance(self.input, str):
            return [self.input]
        if not 0 < len(self.input) <= MOST_TEXTS:
            raise BodyError(f"input: expected 1 to {MOST_TEXTS} texts, found {len(self.input)}", "input")
        return self.input


class EmbeddingBody(Body):
    """Of /api/embeddings."""

    model: str | None = None
    prompt: str
    keep_alive: float | str | None = None
    options: Ignored = None


@post(routes, EmbedBody, "/api/embed")
async def embed_all(request: Request) -> Response:
    """Embeddings of texts, of length 1 each."""
    began, to = time.monotonic(), service(request)
    body = await to.read(request, EmbedBody)
    found = await _embedded(request, to, body, body.texts, body.dimensions)
    ended = {
        "model": found.model,
        "total_duration": nanoseconds(time.monotonic() - began),
        "load_duration": 0,
        "prompt_eval_count": found.tokens,
    }
    return StreamingResponse(_pieces(found, to_json(ended)), media_type="application/json")


@post(routes, EmbeddingBody, "/api/embeddings")
async def embed_one(request: Request) -> Response:
    """The embedding of one text."""
    to = service(request)
    body = await to.read(request, EmbeddingBody)
    found = await _embedded(request, to, body, [body.prompt], None)
    return Response(f'{{"embedding":{_numbers(found, 0)}}}', media_type="application/json")


async def _embedded(
    request: Request, to: Service, body: EmbedBody | EmbeddingBody, texts: Sequence[str], dimensions: int | None
) -> Embedded:
    keeps = seconds_of(body.keep_alive)
    found = await while_connected(request.receive, embed(to.models, body.model, texts, dimensions))
    to.models.keep(body.model, keeps)
    return found


async def _pieces(found: Embedded, ended: str) -> AsyncGenerator[str, None]:
    """The response: its text as a whole would take several times the memory of the embeddings. ended: an object with
    the rest of it."""
    yield '{"embeddings":['
    for index in range(len(found.vectors)):
        yield f"{',' if index else ''}{_numbers(found, index)}"
        await asyncio.sleep(0)
    yield f"],{ended[1:]}"


def _numbers(found: Embedded, index: int) -> str:
    """Nine digits tell every float32 from its neighbours."""
    numbers = struct.unpack(f"<{found.dimensions}f", found.vectors[index])
    return f"[{','.join([f'{number:.9g}' for number in numbers])}]"
