"""What every endpoint works with: the models, the way to read a request, and the ways to answer it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from qwen3edge.generation.model import Model
from qwen3edge.server.answering import Answers
from qwen3edge.server.body import parsed
from qwen3edge.server.clients import while_connected
from qwen3edge.server.collected import Collected, collect
from qwen3edge.server.hosted import Models
from qwen3edge.server.metrics import Metrics
from qwen3edge.server.parameters import Bodies, checked
from qwen3edge.server.request import AnswerRequest
from qwen3edge.server.sessions import Sessions

Result = TypeVar("Result")

_SMALL = 1 << 16
"""Bytes that are parsed at once: less than a millisecond."""


class Service:
    """Of one server. pulls: whether clients may have models fetched, one at a time."""

    def __init__(
        self, models: Models, metrics: Metrics, sessions: Sessions | None = None, *, pulls: bool = False
    ) -> None:
        """sessions: None: clients cannot save any."""
        self.models, self.metrics, self.sessions, self.pulls = models, metrics, sessions, pulls
        self.pulling = asyncio.Lock()

    async def read(self, request: Request, kind: type[Bodies]) -> Bodies:
        """The body of a request, checked. Raises BodyError."""
        body = await request.body()
        if len(body) <= _SMALL:
            return checked(parsed(body), kind)
        return await while_connected(request.receive, self.models.reading(lambda: checked(parsed(body), kind)))

    async def begin(self, request: Request, asked: AnswerRequest) -> Answers:
        """Answers that the caller closes. Raises as `Answers.begin`, and ClientLeftError."""
        return await while_connected(request.receive, Answers.begin(self.models, asked))

    async def answer(self, request: Request, asked: AnswerRequest) -> tuple[Answers, list[Collected]]:
        """Whole answers. Raises as `begin`, and what goes wrong with them."""
        answers = await self.begin(request, asked)
        return answers, await self.whole(request, answers, collect(answers.events()))

    async def whole(self, request: Request, answers: Answers, read: Coroutine[Any, Any, Result]) -> Result:
        """What is made of whole answers, which end with it. Raises what goes wrong with them, and ClientLeftError."""
        try:
            return await while_connected(request.receive, read)
        finally:
            await answers.aclose()

    async def reading(self, request: Request, name: str | None, read: Callable[[Model], Result]) -> Result:
        """What reads a text, or writes one, with the tokenizer of a model. Raises as `Models.lease`, what it raises
        itself, and ClientLeftError.
        """
        lease = await while_connected(request.receive, self.models.lease(name))
        try:
            return await while_connected(request.receive, self.models.reading(lambda: read(lease.model)))
        finally:
            lease.release()


def service(request: Request) -> Service:
    """The one that this request came to."""
    found: Service = request.app.state.service
    return found
