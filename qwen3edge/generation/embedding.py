"""Embeddings and scores of documents: from the state behind a text's last token."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Sequence

from qwen3edge import _core
from qwen3edge.errors import BusyError, RequestError
from qwen3edge.runtime.engine import Engine


def last_states(engine: Engine, prompts: Iterable[Sequence[int]]) -> Iterator[list[float]]:
    """Of each prompt in turn, [hidden_size] after the final norm; computed together, and no more of them asked for than
    twice those that run.

    Raises RequestError on another device than the CPU, BusyError when others fill the queue.
    """
    waiting: deque[_core.Generation] = deque()  # those that are dropped end
    for prompt in prompts:
        while not _submitted(engine, prompt, waiting, 2 * engine.plan.sequences):
            yield _state(waiting.popleft())
    while waiting:
        yield _state(waiting.popleft())


async def awaited_states(
    engine: Engine, prompts: AsyncIterable[Sequence[int]], at_once: int
) -> AsyncGenerator[list[float], None]:
    """`last_states` for coroutines, which leaves room for others: at most so many are asked for at once. When it is
    closed, nothing is computed for it. Raises as `last_states`.
    """
    waiting: deque[_core.Generation] = deque()
    try:
        async for prompt in prompts:
            while not _submitted(engine, prompt, waiting, at_once):
                yield await _awaited(engine, waiting)
        while waiting:
            yield await _awaited(engine, waiting)
    finally:
        if waiting:
            await asyncio.shield(engine.pump.call(lambda: _cancel(waiting)))


def normalized(state: Sequence[float], dimensions: int) -> list[float]:
    """Its first numbers, divided by their length. Sums are exact, so the same everywhere."""
    return _core.normalized(state, dimensions)


class Judge:
    """Scores by two rows of the head: no other logit is computed."""

    def __init__(self, engine: Engine, yes: int, no: int) -> None:
        """Raises UnsupportedModelError for a model without a head, RequestError on another device than the CPU."""
        core = engine.core
        if not isinstance(core, _core.Engine):
            raise RequestError("rerank: expected a model on the CPU, found one on another device")
        self._rows = core.head_row(yes), core.head_row(no)

    def score(self, state: Sequence[float]) -> float:
        """How likely yes is, of the two."""
        return _core.likelihood(state, *self._rows)


def _submitted(engine: Engine, prompt: Sequence[int], waiting: deque[_core.Generation], most: int) -> bool:
    """Whether it waits now, too; else one of those that do must end first. Raises BusyError where none does."""
    if len(waiting) >= most:
        return False
    try:
        waiting.append(engine.scheduler.submit_state(prompt))
    except BusyError:
        if not waiting:
            raise
        return False
    return True


def _cancel(waiting: Iterable[_core.Generation]) -> None:
    for each in waiting:
        each.cancel()


def _state(generation: _core.Generation) -> list[float]:
    while True:
        found = _taken(generation.next())
        if found is not None:
            return found


async def _awaited(engine: Engine, waiting: deque[_core.Generation]) -> list[float]:
    """Of the first of those that wait, which is one of them until it has ended."""
    while True:
        await engine.pump.ready(waiting[0])
        news = waiting[0].poll()
        found = None if news is None else _taken(news)
        if found is not None:
            waiting.popleft()
            return found


def _taken(news: _core.News | None) -> list[float] | None:
    if news is None or news.finish == "cancelled":
        raise RequestError("expected an open model, found one that was closed meanwhile")
    if news.finish == "error":
        news.raise_error()
    return None if news.finish is None else news.state
