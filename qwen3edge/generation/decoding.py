"""The loop that samples an answer's tokens, and the text that it streams."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from qwen3edge import _core
from qwen3edge.errors import CancelledError
from qwen3edge.generation.cache import PrefixCache
from qwen3edge.text.prompt import Prompt


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

    prompt_tokens: int  # of them cached_tokens were in the cache already
    cached_tokens: int
    completion_tokens: int  # of them reasoning_tokens were thoughts; the stop token counts too
    reasoning_tokens: int
    prefill_seconds: float
    decode_seconds: float
    seed: int  # with which the same request gives the same answer again

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

    max_tokens: int | None  # None: where the context is full
    stop_tokens: frozenset[int]


class Decoding:
    """What an answer is made with and how far it is. It knows nothing of the `Answer` that its user holds, so that one
    that is dropped ends at once.
    """

    def __init__(
        self,
        cache: PrefixCache,
        prompt: Prompt,
        sampler: _core.Sampler,
        text: _core.AnswerText,
        limits: Limits,
        seed: int,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """prompt: of at least one token, and fewer than the context holds."""
        self.finish_reason: str | None = None
        self.cut_by: str | None = None
        self.tokens: list[int] = []
        self.parts: list[TextChunk] = []
        self.cancel = _core.CancelFlag()
        self._cache = cache
        self._prompt = prompt
        self._sampler = sampler
        self._text = text
        self._limits = limits
        self._seed = seed
        self._progress = progress
        self._cached_tokens = 0
        self._prefill_seconds = 0.0
        self._decode_seconds = 0.0

    @property
    def thinking(self) -> bool:
        """Whether the last token was a thought's."""
        return self._text.reasoning

    @property
    def usage(self) -> Usage:
        """Counts and times so far."""
        return Usage(
            len(self._prompt.tokens),
            self._cached_tokens,
            len(self.tokens),
            self._text.reasoning_tokens,
            self._prefill_seconds,
            self._decode_seconds,
            self._seed,
        )

    def pieces(self) -> Generator[TextChunk, None, None]:
        """Runs once: the pieces as they come."""
        try:
            for token in self._sample():
                yield from self._show(self._text.push(token))
                if self._text.stopped:
                    self.finish_reason = "stop"
                    return
            yield from self._show(self._text.finish())
            if self._text.stopped:
                self.finish_reason = "stop"
        except CancelledError:  # by `close`, which tells its caller; whoever reads has what came so far
            self.finish_reason = "cancelled"
        except GeneratorExit:
            self.finish_reason = "cancelled"
            raise
        except BaseException as error:
            self.finish_reason = "cancelled" if isinstance(error, KeyboardInterrupt) else "error"
            raise

    def _sample(self) -> Iterator[int]:
        """Yields the tokens of the answer; a stop token ends it and is not yielded."""
        started = time.perf_counter()
        prompt, cache = self._prompt.tokens, self._cache
        self._cached_tokens = cache.reuse(prompt)
        for logits in cache.prefill(prompt[self._cached_tokens :], self.cancel):  # noqa: B007
            self._prefill_seconds = time.perf_counter() - started
            if self._progress is not None:
                self._progress(len(cache), len(prompt))
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
            if len(self.tokens) == self._limits.max_tokens:
                self.cut_by = "max_tokens"
            elif len(prompt) + len(self.tokens) >= cache.context:
                self.cut_by = "context"
            if self.cut_by:
                self.finish_reason = "length"
                return
            started = time.perf_counter()
            logits = cache.advance(token, self.cancel)
            self._decode_seconds += time.perf_counter() - started

    def _show(self, pieces: list[tuple[str, bool]]) -> Iterator[TextChunk]:
        for text, reasoning in pieces:
            piece = TextChunk(text, reasoning)
            self.parts.append(piece)
            yield piece
