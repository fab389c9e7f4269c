"""The core's engine with its sequences handed out, each with a cache of its own."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from qwen3edge import _core, checks
from qwen3edge.errors import RequestError, shown
from qwen3edge.runtime.fork_lock import ForkLock
from qwen3edge.runtime.plan import MemoryPlan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qwen3edge.runtime.pump import Pump


class Core(Protocol):
    """The part of `_core.Engine` that is used here."""

    @property
    def plan(self) -> _core.PlanResult: ...
    @property
    def metrics(self) -> _core.Metrics: ...
    def forward(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[int],
        want: Sequence[bool],
        /,
        *,
        cancel: _core.CancelFlag | None = None,
    ) -> NDArray[np.float32]: ...
    def length(self, sequence: int, /) -> int: ...
    def truncate(self, sequence: int, length: int, /) -> int: ...


class Engine:
    """One model in memory. The core makes calls from several threads wait for each other."""

    def __init__(self, core: Core, vocabulary: int, draft: Core | None = None) -> None:
        """Use `devices.open_engine`; core and draft, a draft model's, may also be anything with the same methods.
        vocabulary: logits of a row.
        """
        self.plan = MemoryPlan(**core.plan)
        self._core: Core | None = core
        self._scheduler = _core.Scheduler(core, vocabulary, draft=draft)
        self._pump: Pump | None = None
        self._lock = ForkLock()
        self._abandoned: deque[int] = deque()

    def require_open(self) -> None:
        """Raises RequestError once closed."""
        if self._core is None:
            raise _closed()

    @property
    def core(self) -> Core:
        """The core's engine. Raises RequestError once closed."""
        if self._core is None:
            raise _closed()
        return self._core

    @property
    def scheduler(self) -> _core.Scheduler:
        """What answers requests. Raises RequestError once closed."""
        self.require_open()
        return self._scheduler

    @property
    def pump(self) -> Pump:
        """What answers requests of coroutines."""
        from qwen3edge.runtime.pump import Pump  # noqa: PLC0415

        with self._lock:
            if self._pump is None:
                self._pump = Pump(self._scheduler)
            return self._pump

    @property
    def metrics(self) -> _core.Metrics:
        """What was read from the file for streamed weights, and how long computing waited. Raises RequestError."""
        return self.core.metrics

    @property
    def free_sequences(self) -> int:
        """Sequences that nobody holds."""
        return self._scheduler.counts["free_sequences"] + len(self._abandoned)

    def abandon(self, sequence: int) -> None:
        """`release` for finalizers, which may run in any thread at any line, also in `acquire` while it holds the lock:
        it notes the sequence, and the next `acquire` takes it back.
        """
        self._abandoned.append(sequence)

    def acquire(self) -> int:
        """An empty sequence of one's own. Raises RequestError if all are held."""
        with self._lock:
            scheduler = self.scheduler
            while self._abandoned:
                scheduler.give_sequence(self._abandoned.popleft())
            return scheduler.take_sequence()

    def release(self, sequence: int) -> None:
        """Empties a sequence and hands it to the next one who asks."""
        with self._lock:
            if self._core is not None:
                with contextlib.suppress(RequestError):  # a fork in the middle of a call: nothing of it is used again
                    self._scheduler.give_sequence(sequence)

    def length(self, sequence: int) -> int:
        """Tokens in the cache of a sequence."""
        return self.core.length(self._checked(sequence))

    def truncate(self, sequence: int, length: int) -> int:
        """Leaves at most `length` tokens in a sequence; returns how many, as `_core.Engine.truncate`."""
        return self.core.truncate(self._checked(sequence), checks.whole("length", length, 0, 2**31 - 1))

    def extend(
        self,
        sequence: int,
        tokens: Sequence[int],
        *,
        logits: bool | Sequence[bool],
        cancel: _core.CancelFlag | None = None,
    ) -> NDArray[np.float32]:
        """Appends at most `plan.chunk` tokens to a sequence.

        logits: for all tokens or none, or one flag for each. Returns float32 [flags that are set, vocabulary].
        Raises RequestError, nothing changed, for a token out of range or a context that is full; CancelledError, the
        tokens taken back, soon after another thread set the flag: `length` says what is left.
        """
        core, sequence = self.core, self._checked(sequence)
        listed = checks.items("tokens", tokens, self.plan.context)
        ids = [checks.whole("tokens", token, 0, 2**31 - 1) for token in listed]
        start, count = core.length(sequence), len(ids)
        if isinstance(logits, bool):
            flags = [logits] * count
        else:
            listed = checks.items("logits (True, False, or one of them for each token)", logits, count)
            flags = [checks.flag("logits", flag) for flag in listed]
        if cancel is not None and not isinstance(cancel, _core.CancelFlag):
            raise RequestError(f"expected cancel as a CancelFlag, found {shown(cancel)}")
        return core.forward(ids, range(start, start + count), [sequence] * count, flags, cancel=cancel)

    def observe(self, callback: Callable[[str, int, int, NDArray[np.float32]], None] | None) -> None:
        """Shows callback(tensor, layer, expert, values) what the matrices multiply, see `_core.Engine.observe`.

        Raises RequestError on a device other than the CPU.
        """
        if not isinstance(self.core, _core.Engine):
            raise RequestError("expected a model on the CPU to observe, found one on another device")
        if callback is not None and not callable(callback):
            raise RequestError(f"expected callback as something to call, found {shown(callback)}")
        self.core.observe(callback)

    def close(self) -> None:
        """Ends the answers that run; frees weights, caches and threads. From any thread. Raises RequestError in the
        middle of a step, such as in a mask."""
        self._scheduler.close()
        with self._lock:
            self._core = None
            self._abandoned.clear()

    def _checked(self, sequence: int) -> int:
        return checks.whole("sequence", sequence, 0, self.plan.sequences - 1)


def _closed() -> RequestError:
    return RequestError("expected an open model, found a closed one")
