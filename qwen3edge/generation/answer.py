"""An answer as its user holds it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from qwen3edge import _core
from qwen3edge.closing import Closing
from qwen3edge.runtime.fork_lock import ForkLock

_REASONS = {"stop": "stop", "max_tokens": "length", "context": "length", "cancelled": "cancelled", "error": "error"}
"""What users are told, by how the scheduler ended it."""


class TextChunk(str):
    """A piece of an answer's text, whole characters only; `reasoning` tells thoughts from content."""

    __slots__ = ("reasoning",)
    reasoning: bool

    def __new__(cls, text: str, reasoning: bool = False) -> TextChunk:
        """A str with the attribute."""
        piece = super().__new__(cls, text)
        piece.reasoning = reasoning
        return piece


@dataclass(frozen=True)
class Usage:
    """Tokens and seconds of an answer so far."""

    prompt_tokens: int  # of them cached_tokens were computed before, for this or another request
    cached_tokens: int
    completion_tokens: int  # of them reasoning_tokens were thoughts; the stop token counts too
    reasoning_tokens: int
    queue_seconds: float  # until others had left it a sequence and memory
    prefill_seconds: float  # to the first token
    decode_seconds: float
    seed: int  # with which the same request gives the same answer again

    @classmethod
    def before(cls, prompt_tokens: int, seed: int) -> Usage:
        """Of an answer for which nothing was computed yet."""
        return cls(prompt_tokens, 0, 0, 0, 0.0, 0.0, 0.0, seed)

    @property
    def prefill_tokens_per_second(self) -> float:
        """Of the tokens that were not in the cache; 0 if nothing was measured."""
        return (self.prompt_tokens - self.cached_tokens) / self.prefill_seconds if self.prefill_seconds else 0.0

    @property
    def decode_tokens_per_second(self) -> float:
        """Of all tokens but the first, whose logits the prefill computes; 0 if nothing was measured."""
        return max(self.completion_tokens - 1, 0) / self.decode_seconds if self.decode_seconds else 0.0


class Answer(Closing):
    """Iterate over it for the pieces. Closing it, leaving the loop or dropping it stops the model; the cache stays
    usable. One thread reads it at a time; any thread may close it.
    """

    def __init__(
        self,
        generation: _core.Generation,
        usage: Usage,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Use `Model.generate` or `Session.generate`. usage: before anything is computed. progress(done, all) is called
        after each chunk of the prompt."""
        self.reader = threading.current_thread()
        self.tokens: list[int] = []
        """All that were sampled, the stop token included."""
        self.usage = usage
        """Counts and times so far."""
        self.thinking = False
        """Whether it stands in its thoughts."""
        self._generation = generation
        self._finish: str | None = None  # as the scheduler says it
        self._progress = progress
        self._computed = 0  # tokens of the prompt
        self._unread: deque[TextChunk] = deque()
        self._read: list[TextChunk] = []
        self._reading = ForkLock()  # held by whoever waits for news

    def __iter__(self) -> Iterator[TextChunk]:
        return self

    def __next__(self) -> TextChunk:
        with self._reading:
            self.reader = threading.current_thread()
            while not self._unread:
                if self._finish is not None:
                    raise StopIteration
                try:
                    computed = self._computed
                    self._take_news()
                    if self._progress is not None and self._computed > computed:
                        self._progress(self._computed, self.usage.prompt_tokens)
                except BaseException as error:  # of the engine, of `progress`, or an interrupt
                    self._generation.cancel()
                    self._finish = "cancelled" if isinstance(error, KeyboardInterrupt) else "error"
                    raise
            self._read.append(self._unread.popleft())
            return self._read[-1]

    def __repr__(self) -> str:
        return f"<Answer of {len(self.tokens)} tokens, {self.finish_reason or 'running'}>"

    def _take_news(self) -> None:
        """Waits for it, unless there is some."""
        news = self._generation.next()
        if news is None:  # another call of this thread's own took the last, within a callback
            return
        self._computed = news.computed_tokens
        self.tokens += news.tokens
        self.thinking = news.reasoning
        self.usage = Usage(**news.usage, seed=self.usage.seed)
        self._unread.extend(TextChunk(text, reasoning) for text, reasoning in news.pieces)
        if news.finish == "error":
            news.raise_error()
        self._finish = self._finish or news.finish

    def close(self) -> None:
        """Stops the answer, from any thread. Another thread that is inside it leaves within a step; this waits for it.
        When it returns, the model computes nothing for it.
        """
        if self._finish is not None:
            return
        self._generation.cancel()
        with self._reading:
            if self._finish is None:
                self._take_news()
            self._unread.clear()

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
        return None if self._finish is None else _REASONS[self._finish]

    @property
    def cut_by(self) -> str | None:
        """Of an answer that was cut ("length"): "max_tokens", or "context", which is full."""
        return self._finish if self.finish_reason == "length" else None

    @property
    def content(self) -> str:
        """The content so far."""
        return "".join([piece for piece in self._read if not piece.reasoning])

    @property
    def reasoning(self) -> str:
        """The thoughts so far."""
        return "".join([piece for piece in self._read if piece.reasoning])
