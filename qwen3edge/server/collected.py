"""Whole answers, for clients that do not read along: the same events, put together."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from qwen3edge.generation.answer import TokenLogprob
from qwen3edge.server.events import (
    CallEnded,
    ContentDelta,
    Event,
    Failed,
    Finished,
    Logprobs,
    ReasoningDelta,
    whole_calls,
)


@dataclass
class Collected:
    """One answer. logprobs: of its tokens, if they were asked for."""

    finished: Finished
    reasoning: str = ""
    content: str = ""
    calls: list[CallEnded] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)


async def collect(events: AsyncGenerator[Event, None]) -> list[Collected]:
    """The answers to one request, in order. Raises what went wrong with them."""
    texts: dict[tuple[int, type[Event]], list[str]] = {}
    calls: dict[int, list[CallEnded]] = {}
    logprobs: dict[int, list[TokenLogprob]] = {}
    ended: list[Finished] = []
    async with aclosing(whole_calls(events)) as whole:
        async for event in whole:
            if isinstance(event, ReasoningDelta | ContentDelta):
                texts.setdefault((event.choice, type(event)), []).append(event.text)
            elif isinstance(event, CallEnded):
                calls.setdefault(event.choice, []).append(event)
            elif isinstance(event, Logprobs):
                logprobs.setdefault(event.choice, []).extend(event.tokens)
            elif isinstance(event, Finished):
                ended.append(event)
            elif isinstance(event, Failed):
                raise event.error
    return [
        Collected(
            finished,
            "".join(texts.get((finished.choice, ReasoningDelta), ())),
            "".join(texts.get((finished.choice, ContentDelta), ())),
            calls.get(finished.choice, []),
            logprobs.get(finished.choice, []),
        )
        for finished in sorted(ended, key=lambda each: each.choice)
    ]
