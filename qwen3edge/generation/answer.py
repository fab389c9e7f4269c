"""An answer as its user holds it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from qwen3edge.closing import Closing
from qwen3edge.generation.decoding import Decoding, TextChunk, Usage
from qwen3edge.runtime.fork_lock import ForkLock


class Answer(Closing):
    """Iterate over it for the pieces. Closing it, leaving the loop or dropping it stops the model; the cache stays
    usable. One thread reads it at a time; any thread may close it.
    """

    def __init__(self, decoding: Decoding, session: object) -> None:
        """Use `Model.generate` or `Session.generate`. session: kept for as long as the answer."""
        self.reader = threading.current_thread()
        self._session = session
        self._decoding = decoding
        self._pieces = decoding.pieces()
        self._reading = ForkLock()  # held by whoever runs the generator, or closes it

    def __iter__(self) -> Iterator[TextChunk]:
        return self

    def __next__(self) -> TextChunk:
        with self._reading:
            self.reader = threading.current_thread()
            return next(self._pieces)

    def __repr__(self) -> str:
        return f"<Answer of {len(self.tokens)} tokens, {self.finish_reason or 'running'}>"

    def close(self) -> None:
        """Stops the answer, from any thread. Another thread that is inside it leaves within a layer's time; this waits
        for it.
        """
        if self.finish_reason is not None:
            return
        self._decoding.cancel.set()
        with self._reading:
            try:
                self._pieces.close()
            except ValueError:  # a callback or a signal's handler inside the reading itself, which will see the flag
                return
            if self.finish_reason is None:  # it had not begun
                self._decoding.finish_reason = "cancelled"

    def read(self) -> str:
        """Runs to the end; returns the content without the reasoning."""
        for _ in self:
            pass
        return self.content

    @property
    def finish_reason(self) -> str | None:
        """None while it runs; then "stop" (a stop token or string), "length" (cut), "cancelled" (closed before its
        end) or "error" (the iteration raised).
        """
        return self._decoding.finish_reason

    @property
    def cut_by(self) -> str | None:
        """Of an answer that was cut ("length"): "max_tokens", or "context", which is full."""
        return self._decoding.cut_by

    @property
    def tokens(self) -> list[int]:
        """All that were sampled, the stop token included."""
        return self._decoding.tokens

    @property
    def content(self) -> str:
        """The content so far."""
        return "".join([piece for piece in self._decoding.parts if not piece.reasoning])

    @property
    def reasoning(self) -> str:
        """The thoughts so far."""
        return "".join([piece for piece in self._decoding.parts if piece.reasoning])

    @property
    def thinking(self) -> bool:
        """Whether it stands in its thoughts."""
        return self._decoding.thinking

    @property
    def usage(self) -> Usage:
        """Counts and times so far."""
        return self._decoding.usage
