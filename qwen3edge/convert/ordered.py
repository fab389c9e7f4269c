"""Results of calls in their order, computed on several threads some calls ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from qwen3edge import _core
from qwen3edge.errors import RequestError

T = TypeVar("T")


def worker_count(threads: int | None) -> int:
    """What callers ask for, or all usable cores. Raises RequestError."""
    workers = threads or _core.usable_cores()
    if workers < 1:
        raise RequestError(f"threads: expected at least 1, found {workers}")
    return workers


def in_order(pool: ThreadPoolExecutor, ahead: int, calls: Iterable[Callable[[], T]]) -> Iterator[T]:
    """`ahead` calls are in work at a time; those not begun are cancelled when the iterator is closed or one raises."""
    futures = (pool.submit(call) for call in calls)
    pending: deque[Future[T]] = deque()
    try:
        pending.extend(islice(futures, ahead))
        while pending:
            done = pending.popleft().result()
            pending.extend(islice(futures, 1))
            yield done
    finally:
        for future in pending:
            future.cancel()
