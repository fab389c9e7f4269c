"""What every endpoint works with: the models, the way to read a request, and the ways to answer it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from starlette.requests import Request

from qwen3edge.server.answering import Answers
from qwen3edge.server.body import parsed
from qwen3edge.server.clients import Result, while_connected
from qwen3edge.server.collected import Collected, collect
from qwen3edge.server.hosted import Models
from qwen3edge.server.metrics import Metrics
from qwen3edge.server.parameters import Bodies, checked
from qwen3edge.server.request import AnswerRequest

_SMALL = 1 << 16
"""Bytes that are parsed at once: less than a millisecond."""


class Service:
    """Of one server."""

    def __init__(self, models: Models, metrics: Metrics) -> None:
        self.models, self.metrics = models, metrics

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
        """What reads the answers to their end gives, while the client waits for it; they are closed then."""
        try:
            return await while_connected(request.receive, read)
        finally:
            await answers.aclose()


def service(request: Request) -> Service:
    """The one that this request came to."""
    found: Service = request.app.state.service
    return found
