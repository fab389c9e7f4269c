"""A session: one conversation, whose KV cache lives on from turn to turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from qwen3edge.errors import RequestError, UnsupportedModelError
from qwen3edge.generation.answer import Answer, Limits
from qwen3edge.generation.cache import PrefixCache
from qwen3edge.generation.prompt import Input, Prompter
from qwen3edge.generation.sampler import SamplingDefaults
from qwen3edge.generation.stop import checked_stops
from qwen3edge.generation.thinking import ThinkingSplitter
from qwen3edge.runtime.engine import Engine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Voice:
    """How a model speaks: what every session of it shares."""

    prompter: Prompter | None  # None: the file has no tokenizer
    defaults: SamplingDefaults
    stop_tokens: frozenset[int]
    vocabulary: int
    seed: int | None  # of every answer that is not given one


class Session:
    """Holds one sequence of the engine until it is closed. Use it from one thread at a time."""

    def __init__(self, engine: Engine, voice: Voice) -> None:
        """Use `Model.session`. Raises RequestError if all sequences are in use."""
        self._voice = voice
        self._cache = PrefixCache(engine)
        self._answer: Answer | None = None

    def generate(
        self,
        request: Input,
        *,
        thinking: bool | None = None,
        max_tokens: int | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        **sampling: Any,
    ) -> Answer:
        """Starts an answer; iterate over it for its pieces. An earlier answer of this session that still runs is
        closed.

        request: the whole conversation as messages, one user's message as a str, or token ids. Of the prompt only what
        differs from the cache is computed. max_tokens None: until the context is full. stop: strings that end the
        content and are not part of it. sampling: temperature, top_k, top_p, min_p, presence_penalty,
        repetition_penalty; what is not given follows the model's defaults for thinking or for answering directly.
        Raises RequestError or TemplateError before anything is computed.
        """
        if max_tokens is not None and (
            isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1
        ):
            raise RequestError(f"expected max_tokens as an int of at least 1, found {max_tokens!r:.60}")
        voice, context = self._voice, self._cache.context
        stops = checked_stops(stop)
        if voice.prompter is None:
            raise UnsupportedModelError("expected a tokenizer in the model file, found none")
        prompt = voice.prompter.prompt(request, thinking=thinking, tools=tools, limit=context)
        for token in prompt.tokens:
            if not 0 <= token < voice.vocabulary:
                raise RequestError(f"expected token ids from 0 to {voice.vocabulary - 1}, found {token}")
        parameters = voice.defaults.choose(prompt.thinking).override(**sampling)
        sampler = parameters.sampler(voice.vocabulary, voice.seed if seed is None else seed)
        if parameters.repetition_penalty != 1:  # of the penalties the one that looks at the prompt
            for token in prompt.tokens:
                sampler.accept(token, False)
        splitter = ThinkingSplitter(voice.prompter.tokenizer, reasoning=prompt.reasoning)
        self.cancel()
        limits = Limits(context if max_tokens is None else max_tokens, voice.stop_tokens, stops)
        self._answer = Answer(self._cache, prompt, sampler, splitter, limits)
        return self._answer

    def logits(self, tokens: Sequence[int]) -> Iterator[NDArray[np.float32]]:
        """Yields float32 [some tokens, vocabulary], in all one row for each token, computed from an empty cache."""
        self.cancel()
        self._cache.reset()
        return self._cache.logits(tokens)

    @property
    def busy(self) -> bool:
        """Whether an answer has begun and not ended."""
        return self._answer is not None and self._answer.finish_reason is None

    @property
    def tokens(self) -> tuple[int, ...]:
        """What lies in the KV cache."""
        return self._cache.tokens

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._cache.closed

    def cancel(self) -> None:
        """Ends the answer that runs, if any."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def reset(self) -> None:
        """Forgets the conversation."""
        self.cancel()
        self._cache.reset()

    def close(self) -> None:
        """Gives its sequence back to the model."""
        self.cancel()
        self._cache.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
