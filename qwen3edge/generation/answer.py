"""A running answer: the loop that samples tokens, and the text that it streams."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from types import TracebackType

from qwen3edge import _core
from qwen3edge.errors import RequestError
from qwen3edge.generation.cache import PrefixCache
from qwen3edge.generation.prompt import Prompt
from qwen3edge.generation.stop import StopFilter
from qwen3edge.generation.thinking import Part, ThinkingSplitter


class Piece(str):
    """A piece of an answer's text, whole characters only; `reasoning` tells thoughts from content."""

    __slots__ = ("reasoning",)
    reasoning: bool

    def __new__(cls, text: str, reasoning: bool = False) -> Piece:
        """A str with the attribute."""
        piece = super().__new__(cls, text)
        piece.reasoning = reasoning
        return piece


@dataclass(frozen=True)
class Usage:
    """Tokens and seconds of an answer so far."""

    prompt_tokens: int  # of them cached_tokens were in the cache already
    cached_tokens: int
    completion_tokens: int  # of them reasoning_tokens were thoughts; the stop token counts too
    reasoning_tokens: int
    prefill_seconds: float
    decode_seconds: float

    @property
    def prefill_tokens_per_second(self) -> float:
        """Of the tokens that were not in the cache; 0 if nothing was measured."""
        return (self.prompt_tokens - self.cached_tokens) / self.prefill_seconds if self.prefill_seconds else 0.0

    @property
    def decode_tokens_per_second(self) -> float:
        """Of all tokens but the first, whose logits the prefill computes; 0 if nothing was measured."""
        return max(self.completion_tokens - 1, 0) / self.decode_seconds if self.decode_seconds else 0.0


@dataclass(frozen=True)
class Limits:
    """Where an answer ends."""

    max_tokens: int
    stop_tokens: frozenset[int]
    stops: tuple[str, ...]  # in the content; they are not part of the answer


class Answer:
    """Iterate over it for the pieces. Closing it, or leaving the loop, stops the model; the cache stays usable.

    finish_reason: None while it runs; then "stop" (a stop token or string), "length" (max_tokens, or the context is
    full), "cancelled" (closed before its end) or "error" (the iteration raised). tokens: all that were sampled, the
    stop token included.
    """

    def __init__(
        self, cache: PrefixCache, prompt: Prompt, sampler: _core.Sampler, splitter: ThinkingSplitter, limits: Limits
    ) -> None:
        """Use `Model.generate` or `Session.generate`. Raises RequestError for a prompt that leaves no room in the
        context.
        """
        if not prompt.tokens:
            raise RequestError("expected a prompt of at least one token, found none")
        if len(prompt.tokens) >= cache.context:
            raise RequestError(
                f"expected a prompt of fewer than {cache.context} tokens (the context), found {len(prompt.tokens)}"
            )
        self.finish_reason: str | None = None
        self.tokens: list[int] = []
        self._cache = cache
        self._prompt = prompt
        self._sampler = sampler
        self._splitter = splitter
        self._stops = StopFilter(limits.stops)
        self._limits = limits
        self._cached_tokens = 0
        self._prefill_seconds = 0.0
        self._decode_seconds = 0.0
        self._parts: list[Piece] = []
        self._pieces = self._run()

    def __iter__(self) -> Iterator[Piece]:
        return self

    def __next__(self) -> Piece:
        return next(self._pieces)

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops the answer. Raises RequestError while another thread is inside it."""
        try:
            self._pieces.close()
        except ValueError:
            raise RequestError("expected an answer that no other thread is reading") from None
        if self.finish_reason is None:
            self.finish_reason = "cancelled"

    def read(self) -> str:
        """Runs to the end; returns the content without the reasoning."""
        for _ in self:
            pass
        return self.content

    @property
    def content(self) -> str:
        """The content so far."""
        return "".join([piece for piece in self._parts if not piece.reasoning])

    @property
    def reasoning(self) -> str:
        """The thoughts so far."""
        return "".join([piece for piece in self._parts if piece.reasoning])

    @property
    def usage(self) -> Usage:
        """Counts and times so far."""
        return Usage(
            len(self._prompt.tokens),
            self._cached_tokens,
            len(self.tokens),
            self._splitter.reasoning_tokens,
            self._prefill_seconds,
            self._decode_seconds,
        )

    def _run(self) -> Generator[Piece, None, None]:
        try:
            for token in self._sample():
                for part in self._splitter.push(token):
                    yield from self._emit(part)
                if self._stops.stopped:
                    self.finish_reason = "stop"
                    return
            for part in self._splitter.finish():
                yield from self._emit(part)
            if self._stops.stopped:
                self.finish_reason = "stop"
            yield from self._show(self._stops.finish(), False)
        except GeneratorExit:
            self.finish_reason = "cancelled"
            raise
        except BaseException as error:
            self.finish_reason = "cancelled" if isinstance(error, KeyboardInterrupt) else "error"
            raise

    def _sample(self) -> Iterator[int]:
        """Yields the tokens of the answer; a stop token ends it and is not yielded."""
        started = time.perf_counter()
        self._cached_tokens = self._cache.reuse(self._prompt.tokens)
        for logits in self._cache.prefill(self._prompt.tokens[self._cached_tokens :]):  # noqa: B007
            self._prefill_seconds = time.perf_counter() - started
        logits = logits[0]
        while True:
            started = time.perf_counter()
            token = self._sampler.sample(logits)
            self.tokens.append(token)
            if token in self._limits.stop_tokens:
                self.finish_reason = "stop"
                return
            self._sampler.accept(token, True)
            self._decode_seconds += time.perf_counter() - started
            yield token
            full = len(self._prompt.tokens) + len(self.tokens) >= self._cache.context
            if full or len(self.tokens) >= self._limits.max_tokens:
                self.finish_reason = "length"
                return
            started = time.perf_counter()
            logits = self._cache.advance(token)
            self._decode_seconds += time.perf_counter() - started

    def _emit(self, part: Part) -> Iterator[Piece]:
        return self._show(part.text if part.reasoning else self._stops.push(part.text), part.reasoning)

    def _show(self, text: str, reasoning: bool) -> Iterator[Piece]:
        if text:
            piece = Piece(text, reasoning)
            self._parts.append(piece)
            yield piece
