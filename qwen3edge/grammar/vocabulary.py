"""A model's vocabulary as llguidance reads it, and grammars compiled for it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from qwen3edge.errors import GrammarError, RequestError, UnsupportedModelError
from qwen3edge.extras import named_extra
from qwen3edge.grammar.definition import Definition
from qwen3edge.grammar.definition import terminal as as_terminal
from qwen3edge.text.reasoning import THINK_CLOSE, THINK_OPEN
from qwen3edge.text.tokenizer import Tokenizer
from qwen3edge.text.tools import TOOL_CALL

try:
    import llguidance
    from llguidance.gbnf_to_lark import GbnfToLarkError, any_to_lark
except ModuleNotFoundError as missing:
    raise named_extra("an answer that must match a grammar", missing) from None

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_STATES = 16_000
"""Of a matcher's lexer, each of about 600 bytes: what an answer's grammar takes is in the plan."""

SLICES = [r'[^"\\\x00-\x1F\x7F]+']
"""Tokens that can stand in the middle of a JSON string are looked at together: on 151,936 tokens that halves the time
of a mask, for 60 bytes a token. llguidance's own four slices take 240."""

_HEADER = '%llguidance {"no_forcing": true}\n'
"""A text that a grammar forces, of a million letters perhaps, is not made into tokens ahead: the model picks them."""

_GBNF = re.compile(r"^\s*[\w-]+\s*::=", re.MULTILINE)
_MOST_OF_AN_ERROR = 300
_ECHO = "1 | %llguidance"
"""Before the grammar's own lines in an error, which of a schema are one with all of it."""


class Vocabulary:
    """Shared by all answers of a model, whose tokens it holds once more, in a tree."""

    def __init__(self, tokenizer: Tokenizer, stop_tokens: Collection[int]) -> None:
        """stop_tokens: of the model; they end an answer that is complete. Raises UnsupportedModelError without any."""
        self.size = tokenizer.vocabulary_size
        self.ends = sorted(token for token in stop_tokens if token < self.size)
        if not self.ends:
            raise UnsupportedModelError("expected a token that ends answers, for an answer that must match a grammar")
        self.think, self.close = tokenizer.token_id(THINK_OPEN), tokenizer.token_id(THINK_CLOSE)
        self.breaks = _line_breaks(tokenizer)
        # Thoughts are free, but end in an answer: not with the model's last word, nor with a tool call within them.
        self.call = tokenizer.token_id(TOOL_CALL)
        self.thoughts = np.full(-(-self.size // 32), 0xFFFFFFFF, np.uint32)
        for token in self.ends if self.call is None else [*self.ends, self.call]:
            self.thoughts[token // 32] &= ~np.uint32(1 << token % 32)
        self._tree = llguidance.LLTokenizer(
            cast(Any, _Tokens(tokenizer, self.ends[0])), self.size, self.ends[0], SLICES
        )
        self._limits = llguidance.LLParserLimits(max_lexer_states=MAX_STATES, verbose_errors=False)

    def matcher(self, definition: Definition) -> llguidance.LLMatcher:
        """For one answer. Raises RequestError for a grammar that is none or that cannot be held to, with what is wrong
        with it.
        """
        if definition.calls is not None:
            self.matcher(definition.calls)  # what is wrong with them is said of them
        for what, terminal in definition.terminals.items():
            self._compiled(Definition(what, "grammar", f"start: TEXT\nTEXT: {terminal}"))
        return self._compiled(definition)

    def _compiled(self, definition: Definition) -> llguidance.LLMatcher:
        grammar = _grammar(definition)
        error = llguidance.LLMatcher.validate_grammar(grammar, self._tree, limits=self._limits)
        if error:
            raise _unsuitable(definition, error)
        matcher = llguidance.LLMatcher(self._tree, grammar, log_level=0, limits=self._limits)
        try:
            self.fill(matcher, np.zeros_like(self.thoughts))  # what needs too much often does so from the start
        except GrammarError:
            raise _unsuitable(definition, matcher.get_error()) from None
        return matcher

    def fill(self, matcher: llguidance.LLMatcher, mask: NDArray[np.uint32]) -> None:
        """Writes what may come next, one bit a token, most of it without the GIL. Raises GrammarError where the matcher
        gave up.
        """
        matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        require_sound(matcher)
        first, *others = self.ends
        if mask[first // 32] >> first % 32 & 1:  # llguidance was told of one
            allow(mask, others)


def allow(mask: NDArray[np.uint32], tokens: Iterable[int]) -> None:
    """Sets their bits."""
    for token in tokens:
        mask[token // 32] |= np.uint32(1 << token % 32)


def require_sound(matcher: llguidance.LLMatcher) -> None:
    """Raises GrammarError where the matcher gave up."""
    if matcher.is_error():
        raise GrammarError(f"expected an answer that its grammar can follow, found: {_line(matcher.get_error())}")


class _Tokens:
    """What llguidance asks of a tokenizer."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, end: int) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = end
        self.special_token_ids = sorted(tokenizer.marks)

    @property
    def tokens(self) -> list[bytes]:
        return [self._tokenizer.token_bytes(token) for token in range(self._tokenizer.vocabulary_size)]

    def __call__(self, text: str) -> Sequence[int]:
        return self._tokenizer.encode(text)


def _grammar(definition: Definition) -> str:
    """For llguidance, in its own form."""
    named = {"": _lark(definition)}
    if definition.calls is not None:
        named = {"": "start: @calls | @content", "calls": _lark(definition.calls), "content": named[""]}
    return json.dumps({"grammars": [{"name": name, "lark_grammar": _HEADER + text} for name, text in named.items()]})


def _lark(definition: Definition) -> str:
    """In llguidance's Lark."""
    text = definition.text
    if definition.kind == "json_schema":
        return f"start: %json {text}"
    if definition.kind == "regex":
        return f"start: {as_terminal(text)}"
    if _GBNF.search(text):
        try:
            return str(any_to_lark(text))
        except GbnfToLarkError as error:
            raise _unsuitable(definition, str(error)) from None
    return text


def _unsuitable(definition: Definition, error: str) -> RequestError:
    reason = error.partition(_ECHO)[0] if definition.kind == "json_schema" else error
    return RequestError(
        f"{definition.option}: expected what llguidance can hold an answer to, found: {_line(reason)}. Nothing is "
        "passed over: leave it out"
    )


def _line(error: str) -> str:
    return " ".join(error.split("<state>", maxsplit=1)[0].split())[:_MOST_OF_AN_ERROR]


def _line_breaks(tokenizer: Tokenizer) -> dict[int, int]:
    """Tokens of line breaks alone that models put behind their thoughts, and how many breaks each has."""
    found = {count: tokenizer.encode("\n" * count) for count in (1, 2)}
    return {tokens[0]: count for count, tokens in found.items() if len(tokens) == 1}
