"""A session: one conversation, whose KV cache lives on from turn to turn."""

from __future__ import annotations

import difflib
import inspect
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qwen3edge import checks
from qwen3edge.closing import Closing
from qwen3edge.errors import RequestError, UnsupportedModelError, shown
from qwen3edge.generation.answer import Answer, Usage
from qwen3edge.generation.sampler import SamplingDefaults, chosen_seed
from qwen3edge.runtime.engine import Engine
from qwen3edge.runtime.fork_lock import ForkLock
from qwen3edge.text.prompt import Input, PromptBuilder
from qwen3edge.text.stop import checked_stops

if TYPE_CHECKING:
    from typing import NoReturn as Never  # no keyword has this type: type checkers refuse unknown ones


MAX_TOKENS = 2**31 - 1
"""Of an answer; no context is as long."""


@dataclass(frozen=True)
class GenerationDefaults:
    """What all sessions of a model share, for requests that do not say otherwise."""

    prompt_builder: PromptBuilder | None  # None: the file has no tokenizer
    sampling: SamplingDefaults
    stop_tokens: frozenset[int]
    vocabulary: int
    seed: int | None  # of every answer that is not given one


class Session(Closing):
    """A conversation, which has one answer at a time. What it computed is found again by its next request, as long as
    the memory is not needed for others: it holds none of its own.

    One thread at a time asks and reads; `cancel` and `close` are for any thread at any time.
    """

    def __init__(self, engine: Engine, defaults: GenerationDefaults) -> None:
        """Use `Model.session`."""
        self._defaults = defaults
        self._engine = engine
        self._closed = False
        self._prompt: tuple[int, ...] = ()
        self._answered: Sequence[int] = ()  # grows with the answer
        self._answer: weakref.ref[Answer] | None = None  # weak: an answer that its user dropped has ended
        self._starting = ForkLock()

    def generate(
        self,
        request: Input,
        *,
        thinking: bool | None = None,
        max_tokens: int | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        presence_penalty: float | None = None,
        frequency_penalty: float | None = None,
        repetition_penalty: float | None = None,
        logit_bias: Mapping[int, float] | None = None,
        raw: bool = False,
        tags_as_text: bool = True,
        template_variables: Mapping[str, Any] | None = None,
        progress: Callable[[int, int], object] | None = None,
        **unknown: Never,
    ) -> Answer:
        """Starts an answer; iterate over it for its pieces. An earlier answer of this session that still runs is
        closed.

        request: the whole conversation as messages, one user's message as a str, or token ids [tokens] (a list or an
        array). Of the prompt only what differs from the cache is computed. thinking: None leaves it to the model's
        template. max_tokens None: until the context is full. tools: schemas of functions, as OpenAI's API takes them.
        stop: strings that end the content and are not part of it. seed: for the same answer again; `Usage.seed` tells
        the one that was taken. temperature (0: greedy), top_k (0 or -1: off), top_p, min_p, presence_penalty,
        frequency_penalty, repetition_penalty: what is not given follows `Model.sampling_defaults`. logit_bias: what is
        added to logits, from -100 to 100, by token ids. raw: a str is the prompt itself, which the model continues: no
        template, and names of special tokens in it are those tokens. tags_as_text: `<think>`, `<tool_call>` and their
        like in what users, systems and tools say are text, not tokens. template_variables: what the template knows
        besides, such as `documents`. progress(done, all) is called after each chunk of the prompt, in tokens.

        Raises, before anything is computed, ContextError for a prompt that does not fit, RequestError (also when
        another thread still reads this session's last answer) and TemplateError.
        """
        if unknown:
            raise _unknown(unknown)
        if self._closed:
            raise RequestError("expected an open session, found a closed one")
        if max_tokens is not None:
            max_tokens = min(checks.whole("max_tokens", max_tokens, 1, 2**63 - 1), MAX_TOKENS)
        if progress is not None and not callable(progress):
            raise RequestError(f"expected progress as something to call, found {shown(progress)}")
        defaults = self._defaults
        stops = checked_stops(stop)
        prompt_builder = self._prompt_builder
        prompt = prompt_builder.prompt(
            request, thinking=thinking, tools=tools, raw=raw, tags_as_text=tags_as_text,
            template_variables=template_variables, limit=self._engine.plan.context,
        )  # fmt: skip
        if not prompt.tokens:
            raise RequestError("expected a prompt of at least one token, found none")
        for token in prompt.tokens:
            if not 0 <= token < defaults.vocabulary:
                raise RequestError(f"expected token ids from 0 to {defaults.vocabulary - 1}, found {token}")
        parameters = defaults.sampling.choose(prompt.thinking).override(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
            repetition_penalty=repetition_penalty,
            logit_bias=logit_bias,
        )
        seed = chosen_seed(defaults.seed if seed is None else seed)
        sampler = parameters.sampler(defaults.vocabulary, seed, usable=prompt_builder.tokenizer.vocabulary_size)
        with self._starting:
            self._claim()
            generation = self._engine.scheduler.submit(
                prompt.tokens,
                sampler,
                max_tokens=max_tokens or 0,
                stop_tokens=list(defaults.stop_tokens),
                texts=prompt_builder.tokenizer.bpe,
                reasoning=prompt.reasoning,
                stops=stops,
            )
            answer = Answer(generation, Usage.before(len(prompt.tokens), seed), progress)
            self._prompt, self._answered, self._answer = prompt.tokens, answer.tokens, weakref.ref(answer)
        return answer

    @property
    def _prompt_builder(self) -> PromptBuilder:
        if self._defaults.prompt_builder is None:
            raise UnsupportedModelError("expected a tokenizer in the model file, found none")
        return self._defaults.prompt_builder

    @property
    def _running(self) -> Answer | None:
        answer = None if self._answer is None else self._answer()
        return None if answer is None or answer.finish_reason is not None else answer

    def _claim(self) -> None:
        """Ends this thread's answer. Raises RequestError while another thread reads one: whose turn it is cannot be
        told.
        """
        answer = self._running
        if answer is None:
            return
        if answer.reader is not threading.current_thread() and answer.reader.is_alive():
            raise RequestError(
                "expected a session of this thread's own, found another thread's answer running in it: take a session "
                "for each thread (load(sequences=N), model.session()), or cancel that answer first"
            )
        answer.close()

    @property
    def busy(self) -> bool:
        """Whether an answer has begun and not ended."""
        return self._running is not None

    @property
    def tokens(self) -> tuple[int, ...]:
        """The conversation so far: the last prompt and what was answered."""
        return (*self._prompt, *self._answered)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def cancel(self) -> None:
        """Ends the answer that runs, if any. From any thread; when it returns, the model computes nothing for it."""
        answer = self._running
        if answer is not None:
            answer.close()

    def reset(self) -> None:
        """Forgets the conversation."""
        self.cancel()
        self._prompt, self._answered = (), ()

    def close(self) -> None:
        """Ends the answer that runs, if any; none can be asked for any more. From any thread."""
        self._closed = True
        self.cancel()


def checked_tokens(tokens: object, vocabulary: int, context: int) -> list[int]:
    """The ids of a text that fits. Raises RequestError."""
    items = checks.items(f"tokens (1 to {context}, the context)", tokens, context)
    if not items:
        raise RequestError(f"expected 1 to {context} tokens (the context), found 0")
    ids = [checks.token_id("tokens", token) for token in items]
    for token, found in zip(ids, items, strict=True):
        if not 0 <= token < vocabulary:
            raise RequestError(f"tokens: expected token ids from 0 to {vocabulary - 1}, found {shown(found)}")
    return ids


def _unknown(names: Iterable[str]) -> RequestError:
    known = [name for name, parameter in inspect.signature(Session.generate).parameters.items()
             if parameter.kind is parameter.KEYWORD_ONLY]  # fmt: skip
    name = next(iter(names))
    close = difflib.get_close_matches(name, known, 1, 0.5)
    hint = f"did you mean {close[0]}? " if close else ""
    return RequestError(f"unknown argument {name:.60}: {hint}expected {', '.join(known)}")
