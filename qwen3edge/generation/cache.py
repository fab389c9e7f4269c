"""The tokens that lie in one slot's KV cache, and how a new prompt reuses them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from qwen3edge import _core
from qwen3edge.errors import RequestError
from qwen3edge.runtime.engine import Engine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class PrefixCache:
    """The tokens of one slot. What a new prompt shares with them is not computed again."""

    def __init__(self, engine: Engine) -> None:
        """Raises RequestError if all slots are held."""
        self._engine = engine
        self._slot: int | None = None
        self._tokens: list[int] = []
        self._slot = engine.acquire()

    def __del__(self) -> None:
        """A session that was dropped without `close`."""
        if self._slot is not None:
            self._engine.abandon(self._slot)

    @property
    def slot(self) -> int:
        """Raises RequestError once closed."""
        if self._slot is None:
            raise RequestError("expected an open session, found a closed one")
        return self._slot

    @property
    def closed(self) -> bool:
        """Whether the slot was given back."""
        return self._slot is None

    @property
    def context(self) -> int:
        """Tokens that the slot can hold."""
        return self._engine.plan.context

    @property
    def tokens(self) -> tuple[int, ...]:
        """What lies in the cache."""
        self._agree()
        return tuple(self._tokens)

    def __len__(self) -> int:
        """Tokens in the cache, as noted."""
        return len(self._tokens)

    def reuse(self, prompt: Sequence[int]) -> int:
        """Cuts the cache down to what it shares with the prompt, or further where the model cannot go back to that;
        returns how many tokens are left.

        The prompt's last token is never counted: its logits are needed.
        """
        self._agree()
        shared = 0
        for cached, token in zip(self._tokens, prompt[:-1], strict=False):
            if cached != token:
                break
            shared += 1
        self._cut(shared)
        return len(self._tokens)

    def prefill(self, tokens: Sequence[int], cancel: _core.CancelFlag | None = None) -> Iterator[NDArray[np.float32]]:
        """Appends tokens chunk by chunk. Raises CancelledError, a part of them appended, when the flag is set.

        Yields float32 [0, vocabulary] after each chunk and [1, vocabulary], the last token's, after the last.
        """
        chunk = self._engine.plan.chunk
        for start in range(0, len(tokens), chunk):
            part = tokens[start : start + chunk]
            flags = [False] * len(part)
            flags[-1] = start + len(part) == len(tokens)
            yield self._extend(part, flags, cancel)

    def logits(self, tokens: Sequence[int]) -> Iterator[NDArray[np.float32]]:
        """Appends tokens chunk by chunk; yields float32 [chunk, vocabulary], a row for each token."""
        chunk = self._engine.plan.chunk
        for start in range(0, len(tokens), chunk):
            yield self._extend(tokens[start : start + chunk], True)

    def advance(self, token: int, cancel: _core.CancelFlag | None = None) -> NDArray[np.float32]:
        """Appends one token; returns float32 [vocabulary]. Raises CancelledError, nothing appended."""
        row: NDArray[np.float32] = self._extend([token], True, cancel)[0]
        return row

    def reset(self) -> None:
        """Forgets everything."""
        self._cut(0)

    def close(self) -> None:
        """Gives the slot back."""
        if self._slot is not None:
            self._engine.release(self._slot)
            self._slot = None
            self._tokens = []

    def _extend(
        self, tokens: Sequence[int], logits: bool | Sequence[bool], cancel: _core.CancelFlag | None = None
    ) -> NDArray[np.float32]:
        # The core imports it as well, but through frames of C++: a thread that the interpreter ends meanwhile would
        # take the process along.
        import numpy  # noqa: F401, PLC0415

        # Noted first: if the call is interrupted, _agree drops what the engine has not taken.
        self._tokens.extend(tokens)
        try:
            return self._engine.extend(self.slot, tokens, logits=logits, cancel=cancel)
        except BaseException:
            self._agree()
            raise

    def _agree(self) -> None:
        """After an interruption the notes and the cache may differ in length: what both have is right."""
        length = min(len(self._tokens), self._engine.length(self.slot))
        self._cut(length)

    def _cut(self, length: int) -> None:
        if self._engine.length(self.slot) > length:
            length = self._engine.truncate(self.slot, length)
        del self._tokens[length:]
