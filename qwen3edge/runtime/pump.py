"""Answers for coroutines: a thread computes while they wait."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable

from qwen3edge import _core
from qwen3edge.runtime.fork_lock import ForkLock

_PATIENCE = 50  # milliseconds, for the end of a step of another thread
_LINGER = 1.0  # seconds without anybody who waits, after which the thread ends
_Waiting = tuple[_core.Generation, asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class Pump:
    """Drives a scheduler while coroutines wait, in a thread that lives as long as they do: an event loop must not
    compute itself, and a thread for each waiting coroutine would be one for each client of a server.
    """

    def __init__(self, scheduler: _core.Scheduler) -> None:
        self._scheduler = scheduler
        self._lock = ForkLock()
        self._waiting: list[_Waiting] = []
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()

    async def ready(self, generation: _core.Generation) -> None:
        """Returns when there is something new of an answer, or it has ended."""
        if generation.ready():
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting.append((generation, loop, future))
            if self._thread is None or not self._thread.is_alive():  # of a parent, after a fork
                self._wake = threading.Event()
                self._thread = threading.Thread(target=self._run, name="qwen3edge", daemon=True)
                self._thread.start()
            self._wake.set()
        await future

    async def call(self, function: Callable[[], object]) -> None:
        """Calls what waits for the end of a step."""
        await asyncio.to_thread(function)

    def _run(self) -> None:
        while True:
            with self._lock:
                self._waiting = [each for each in self._waiting if not _told(*each)]
                if not self._waiting:
                    self._wake.clear()
            if not self._wake.wait(_LINGER):
                with self._lock:
                    if not self._waiting:
                        self._thread = None
                        return
            try:
                computed = self._scheduler.advance(_PATIENCE)
            except Exception:  # whoever waits meets it when he looks
                with self._lock:
                    waiting, self._waiting = self._waiting, []
                for _, loop, future in waiting:
                    _tell(loop, future)
            else:
                if not computed:
                    time.sleep(0.001)  # who waits for what has just ended is told in the next round


def _told(generation: _core.Generation, loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> bool:
    if not future.cancelled() and not generation.ready():
        return False
    _tell(loop, future)
    return True


def _tell(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    def done() -> None:
        if not future.done():
            future.set_result(None)

    with contextlib.suppress(RuntimeError):  # the loop was closed with its coroutines
        loop.call_soon_threadsafe(done)
