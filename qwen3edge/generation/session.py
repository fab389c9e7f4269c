"""A session: one conversation, whose KV cache lives on from turn to turn."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qwen3edge import _core, checks
from qwen3edge.closing import Closing
from qwen3edge.errors import FileFormatError, RequestError, SessionFileError, UnsupportedModelError, shown
from qwen3edge.generation.answer import Answer
from qwen3edge.generation.grammars import Grammars
from qwen3edge.generation.options import DEFAULTS, CheckedOptions, Options, checked
from qwen3edge.generation.sampler import SamplingDefaults, chosen_seed
from qwen3edge.grammar.calls import forced_calls, strict_calls
from qwen3edge.grammar.definition import Definition
from qwen3edge.keywords import shows
from qwen3edge.runtime.engine import Engine
from qwen3edge.runtime.fork_lock import ForkLock
from qwen3edge.text.prompt import Input, PromptBuilder
from qwen3edge.text.tools import TOOL_CALL, TOOL_CALLED, declared_functions, declared_types, strict_functions

if TYPE_CHECKING:
    from typing_extensions import Unpack  # Python has it from 3.11 on; type checkers always

    from qwen3edge.generation.options import Mask, Words

Path = str | os.PathLike[str]


@dataclass(frozen=True)
class GenerationDefaults:
    """What all sessions of a model share, for requests that do not say otherwise."""

    prompt_builder: PromptBuilder | None  # None: the file has no tokenizer
    sampling: SamplingDefaults
    stop_tokens: frozenset[int]
    vocabulary: int
    seed: int | None  # of every answer that is not given one
    grammars: Grammars | None = None  # None: as prompt_builder


class Session(Closing):
    """A conversation, which has one answer at a time. What it computed is found again by its next request, as long as
    the memory is not needed for others: it holds none of its own.

    One thread at a time asks and reads; `cancel` and `close` are for any thread at any time.
    """

    def __init__(
        self, engine: Engine, defaults: GenerationDefaults, tokens: Sequence[int] = (), note: str = ""
    ) -> None:
        """Use `Model.session`."""
        self.note = note
        """The text that it was saved with."""
        self._defaults = defaults
        self._engine = engine
        self._closed = False
        self._prompt = tuple(tokens)
        self._answered: Sequence[int] = ()  # grows with the answer
        self._answer: weakref.ref[Answer] | None = None  # weak: an answer that its user dropped has ended
        self._starting = ForkLock()

    @shows(Options, DEFAULTS)
    def generate(self, request: Input, **options: Unpack[Options]) -> Answer:
        """Starts an answer; iterate over it for its pieces. An earlier answer of this session that still runs is
        closed.

        request: the whole conversation as messages, one user's message as a str, or token ids [tokens] (a list or an
        array). Of the prompt only what differs from the cache is computed.

        Raises, before anything is computed, ContextError for a prompt that does not fit, RequestError (also when
        another thread still reads this session's last answer), BusyError when too many requests wait, and
        TemplateError. For an answer that must match something, MissingExtraError without llguidance, and
        MemoryBudgetError where the budget has no room for it.
        """
        defaults = self._defaults
        asked = checked(options, defaults.vocabulary)
        self._require_open()
        prompt_builder = self._prompt_builder
        prompt = prompt_builder.prompt(request, **asked.prompt, limit=self._engine.plan.context)
        if not prompt.tokens:
            raise RequestError("expected a prompt of at least one token, found none")
        for token in prompt.tokens:
            if not 0 <= token < defaults.vocabulary:
                raise RequestError(f"expected token ids from 0 to {defaults.vocabulary - 1}, found {token}")
        seed = chosen_seed(defaults.seed if asked.seed is None else asked.seed)
        ends = frozenset() if asked.ignore_eos else defaults.stop_tokens
        stop_tokens = ends.union(asked.stop_token_ids)
        never = defaults.stop_tokens - stop_tokens
        if asked.tool_choice.mode == "none":
            never |= {prompt_builder.call_token()}
        sampler = (
            defaults.sampling.choose(prompt.thinking)
            .override(**asked.sampling)
            .sampler(
                defaults.vocabulary,
                seed,
                usable=prompt_builder.tokenizer.vocabulary_size,
                choice=asked.choice,
                min_tokens=asked.min_tokens,
                stop_tokens=stop_tokens,
                never=never,
            )
        )
        tools = asked.prompt["tools"]
        reads_calls = bool(tools) if asked.reads_calls is None else asked.reads_calls
        end_of_thoughts: list[int] = []
        if asked.thinking_budget is not None:
            end_of_thoughts = prompt_builder.end_of_thoughts(asked.thinking_budget_message)
        definition = self._definition(asked, tools if reads_calls else None)
        if asked.verbatim:
            prompt = replace(prompt, thinking=False, reasoning=False)
        follower = None if definition is None else self._grammars.follower(definition, prompt)
        with self._starting:
            self._claim()
            generation = self._engine.scheduler.submit(
                prompt.tokens,
                sampler,
                max_tokens=asked.max_tokens,
                stop_tokens=list(stop_tokens),
                texts=prompt_builder.tokenizer.bpe,
                reasoning=prompt.reasoning,
                verbatim=asked.verbatim,
                tools=declared_types(tools) if reads_calls else None,
                stops=asked.stops,
                logprobs=asked.logprobs,
                prompt_logprobs=asked.prompt_logprobs,
                allow=follower if asked.mask is None else self._checked_mask(asked.mask),
                thinking_budget=asked.thinking_budget,
                end_of_thoughts=end_of_thoughts,
                boundaries=prompt_builder.tokenizer.bpe.turn_boundaries(prompt.tokens),
            )
            answer = Answer(self._engine, generation, prompt.tokens, seed, asked.progress, follower)
            self._prompt, self._answered, self._answer = prompt.tokens, answer.tokens, weakref.ref(answer)
        return answer

    def _definition(self, asked: CheckedOptions, tools: Sequence[Mapping[str, Any]] | None) -> Definition | None:
        """What the answer must match. tools: that may be called."""
        functions, content, builder = declared_functions(tools), asked.definition, self._prompt_builder
        forced = asked.tool_choice.mode == "required"
        if not forced and (content is None or not functions):
            strict = strict_functions(tools)
            return self._strict(asked, functions, strict) if content is None and strict else content
        if not forced:
            builder.call_token()  # it tells calls from content that looks like one
        calls = forced_calls(
            functions,
            asked.tool_choice.name,
            tags_are_tokens=builder.call_tags_are_tokens(),
            in_xml=builder.calls_in_xml,
        )
        return calls if content is None else replace(content, calls=calls)

    def _strict(self, asked: CheckedOptions, functions: Mapping[str, Any], strict: Sequence[str]) -> Definition:
        """What calls of these functions must match."""
        if asked.mask is not None:
            raise RequestError("mask: expected no tools with strict beside it, as what may come next has one source")
        if not self._prompt_builder.call_tags_are_tokens():
            raise RequestError(
                f"tools: expected {TOOL_CALL} and {TOOL_CALLED} in the vocabulary, by which calls of strict functions "
                "are told from text, found no such tokens: leave out strict"
            )
        return strict_calls(functions, strict, in_xml=self._prompt_builder.calls_in_xml)

    def _checked_mask(self, mask: Mask) -> Mask:
        """One whose masks are of a length that the vocabulary has, with the rows of padding or without."""
        usable, rows = self._prompt_builder.tokenizer.vocabulary_size, self._defaults.vocabulary
        least, most = -(-usable // 32), rows // 32 + 1

        def checked_mask(tokens: list[int]) -> Words | None:
            words = mask(tokens)
            if getattr(words, "ndim", None) == 1 and words is not None and not least <= words.size <= most:
                raise RequestError(f"mask: expected {least} to {most} words of 32 tokens, found {words.size}")
            return words

        return checked_mask

    def fork(self) -> Session:
        """Another session that begins as this one is now: what was computed is shared, not copied, until the two
        differ. Raises RequestError once it or its model is closed.
        """
        self._require_open()
        return Session(self._engine, self._defaults, self.tokens, self.note)

    def save(self, path: Path, note: str = "") -> None:
        """Writes the conversation to a file, for `Model.load_session`: its tokens, what is still in memory of their KV
        cache (in int4: in whole pages of 64 tokens), and a text of the caller's. The file is readable for its owner
        alone, and takes the place of another at once or not at all.

        Raises RequestError (also on a GPU), OSError.
        """
        self._require_open()
        where = checks.path("path", path)
        text = checks.encoded("note", checks.text("note", note))
        _savable(self._engine).save_session(list(self.tokens), where, text)
        self.note = note

    @classmethod
    def load(cls, engine: Engine, defaults: GenerationDefaults, path: Path) -> Session:
        """Use `Model.load_session`."""
        core = _savable(engine)
        try:
            tokens, note = core.load_session(checks.path("path", path))
            return cls(engine, defaults, tokens, note.decode())
        except FileFormatError as error:
            raise SessionFileError(str(error)) from None
        except UnicodeDecodeError:
            raise SessionFileError(f"{path}: expected a note in UTF-8, found other bytes") from None

    def _require_open(self) -> None:
        self._engine.require_open()
        if self._closed:
            raise RequestError("expected an open session, found a closed one")

    @property
    def _prompt_builder(self) -> PromptBuilder:
        if self._defaults.prompt_builder is None:
            raise UnsupportedModelError("expected a tokenizer in the model file, found none")
        return self._defaults.prompt_builder

    @property
    def _grammars(self) -> Grammars:
        if self._defaults.grammars is None:
            raise UnsupportedModelError("expected a tokenizer in the model file, found none")
        return self._defaults.grammars

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


def _savable(engine: Engine) -> _core.Engine:
    if not isinstance(engine.core, _core.Engine):
        raise RequestError("expected a model on the CPU for saved sessions, found one on another device")
    return engine.core
