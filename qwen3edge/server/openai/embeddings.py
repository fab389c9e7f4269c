"""`POST /v1/embeddings`."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncGenerator, Sequence
from typing import Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from qwen3edge.server.clients import while_connected
from qwen3edge.server.errors import BodyError
from qwen3edge.server.parameters import Body, Ignored, Listed
from qwen3edge.server.route import post, router
from qwen3edge.server.service import service
from qwen3edge.server.sse import to_json
from qwen3edge.server.states import MOST_TEXTS, Embedded, embed

routes = router("OpenAI")


class EmbeddingsBody(Body):
    """Of /v1/embeddings. An input of strings or of arrays of tokens is several texts."""

    model: str | None = None
    input: str | Listed[str] | Listed[int] | Listed[Listed[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    user: Ignored = None

    @property
    def texts(self) -> Sequence[str | list[int]]:
        """One or several. Raises BodyError."""
        if isinstance(self.input, str):
            return [self.input]
        if self.input and isinstance(self.input[0], int):
            return [self.input]
        if not 0 < len(self.input) <= MOST_TEXTS:
            raise BodyError(f"input: expected 1 to {MOST_TEXTS} texts, found {len(self.input)}", "input")
        return self.input  # type: ignore[return-value]


@post(routes, EmbeddingsBody, "/v1/embeddings", "/embeddings")
async def embeddings(request: Request) -> Response:
    """The states behind the texts' last token, of length 1. Queries begin with `Instruct: ...\\nQuery:`."""
    to = service(request)
    body = await to.read(request, EmbeddingsBody)
    found = await while_connected(request.receive, embed(to.models, body.model, body.texts, body.dimensions))
    return StreamingResponse(_pieces(found, packed=body.encoding_format == "base64"), media_type="application/json")


async def _pieces(found: Embedded, *, packed: bool) -> AsyncGenerator[str, None]:
    """The response: its text as a whole would take several times the memory of the embeddings."""
    yield '{"object":"list","data":['
    for index, vector in enumerate(found.vectors):
        if packed:
            text = f'"{base64.b64encode(vector).decode()}"'
        else:  # nine digits tell every float32 from its neighbours
            numbers = struct.unpack(f"<{found.dimensions}f", vector)
            text = f"[{','.join([f'{number:.9g}' for number in numbers])}]"
        yield f'{"," if index else ""}{{"object":"embedding","index":{index},"embedding":{text}}}'
        await asyncio.sleep(0)
    usage = {"prompt_tokens": found.tokens, "total_tokens": found.tokens}
    yield f'],"model":{to_json(found.model)},"usage":{to_json(usage)}}}'
