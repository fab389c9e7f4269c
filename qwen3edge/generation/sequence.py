"""A sequence of the engine in its user's own hands: for logits and measurements, past the scheduler."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from qwen3edge.closing import Closing
from qwen3edge.runtime.engine import Engine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OwnSequence(Closing):
    """The tokens of one sequence, which nobody else uses until it is closed or dropped."""

    def __init__(self, engine: Engine) -> None:
        """Raises RequestError if all sequences are in use."""
        self._engine = engine
        self._tokens: list[int] = []
        self._sequence: int | None = None
        self._sequence = engine.acquire()

    def __del__(self) -> None:
        if self._sequence is not None:
            self._engine.abandon(self._sequence)

    def reuse(self, prompt: Sequence[int]) -> None:
        """Cuts the sequence down to what it shares with the prompt, all but the prompt's last token at most."""
        shared = 0
        for cached, token in zip(self._tokens, prompt[:-1], strict=False):
            if cached != token:
                break
            shared += 1
        self._cut(shared)

    def prefill(self, tokens: Sequence[int]) -> Iterator[NDArray[np.float32]]:
        """Appends tokens chunk by chunk; yields float32 [0, vocabulary] after each chunk and [1, vocabulary], the last
        token's, after the last.
        """
        chunk = self._engine.plan.chunk
        for start in range(0, len(tokens), chunk):
            part = tokens[start : start + chunk]
            yield self._extend(part, [i + 1 == len(tokens) for i in range(start, start + len(part))])

    def logits(self, tokens: Sequence[int]) -> Iterator[NDArray[np.float32]]:
        """Appends tokens chunk by chunk; yields float32 [chunk, vocabulary], a row for each token."""
        chunk = self._engine.plan.chunk
        for start in range(0, len(tokens), chunk):
            yield self._extend(tokens[start : start + chunk], True)

    def advance(self, token: int) -> NDArray[np.float32]:
        """Appends one token; returns float32 [vocabulary]."""
        row: NDArray[np.float32] = self._extend([token], True)[0]
        return row

    def reset(self) -> None:
        """Forgets everything."""
        self._cut(0)

    def close(self) -> None:
        """Gives the sequence back."""
        if self._sequence is not None:
            self._engine.release(self._sequence)
            self._sequence = None

    def _extend(self, tokens: Sequence[int], logits: bool | Sequence[bool]) -> NDArray[np.float32]:
        # The core imports it as well, but through frames of C++: a thread that the interpreter ends meanwhile would
        # take the process along.
        import numpy  # noqa: F401, PLC0415

        assert self._sequence is not None
        rows = self._engine.extend(self._sequence, tokens, logits=logits)
        self._tokens.extend(tokens)
        return rows

    def _cut(self, length: int) -> None:
        assert self._sequence is not None
        length = self._engine.truncate(self._sequence, length)
        del self._tokens[length:]
