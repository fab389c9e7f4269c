"""A model's vocabulary as llguidance reads it, and grammars compiled for it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from qwen3edge.errors import GrammarError, RequestError, UnsupportedModelError
from qwen3edge.extras import named_extra
from qwen3edge.grammar.definition import Definition
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

_GBNF = re.compile(r"^\s*[\w-]+\s*::=", re.MULTILINE)
_MOST_OF_AN_ERROR = 300


class Vocabulary:
    """Shared by all answers of a model, whose tokens it holds once more, in a tree."""

    def __init__(self, tokenizer: Tokenizer, stop_tokens: Collection[int]) -> None:
        """stop_tokens: of the model; they end an answer that is complete. Raises UnsupportedModelError without any."""
        self.size = tokenizer.vocabulary_size
        ends = sorted(token for token in stop_tokens if token < self.size)
        if not ends:
            raise UnsupportedModelError("expected a token that ends answers, for an answer that must match a grammar")
        self.think, self.close = tokenizer.token_id(THINK_OPEN), tokenizer.token_id(THINK_CLOSE)
        self.breaks = _line_breaks(tokenizer)
        # Thoughts are free, but end in an answer: not with the model's last word, nor with a tool call within them.
        call = tokenizer.token_id(TOOL_CALL)
        self.thoughts = np.full(-(-self.size // 32), 0xFFFFFFFF, np.uint32)
        for token in ends if call is None else [*ends, call]:
            self.thoughts[token // 32] &= ~np.uint32(1 << token % 32)
        self._tree = llguidance.LLTokenizer(cast(Any, _Tokens(tokenizer, ends[0])), self.size, ends, SLICES)
        self._limits = llguidance.LLParserLimits(max_lexer_states=MAX_STATES, verbose_errors=False)

    def matcher(self, definition: Definition) -> llguidance.LLMatcher:
        """For one answer. Raises RequestError for a grammar that is none or that cannot be held to, with what is wrong
        with it.
        """
        grammar = _grammar(definition)
        error = llguidance.LLMatcher.validate_grammar(grammar, self._tree, limits=self._limits)
        matcher = llguidance.LLMatcher(self._tree, grammar, log_level=0, limits=self._limits)
        if error or matcher.is_error():
            raise _unsuitable(definition, error or matcher.get_error())
        return matcher


def fill(matcher: llguidance.LLMatcher, mask: NDArray[np.uint32]) -> None:
    """Writes what may come next, one bit a token, without the GIL. Raises GrammarError where the matcher gave up."""
    matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
    require_sound(matcher)


def require_sound(matcher: llguidance.LLMatcher) -> None:
    """Raises GrammarError where the matcher gave up."""
    if matcher.is_error():
        raise GrammarError(f"expected an answer that its grammar can follow, found: {_line(matcher.get_error())}")


class _Tokens:
    """What llguidance asks of a tokenizer: tokens' bytes, and the tokens of a text that a grammar forces."""

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
        return self._tokenizer.encode_exactly(text)


def _grammar(definition: Definition) -> str:
    """In llguidance's own form."""
    make, text = llguidance.LLMatcher, definition.text
    if definition.kind == "json_schema":
        return make.grammar_from_json_schema(text)
    if definition.kind == "regex":
        return make.grammar_from_regex(text)
    try:
        return make.grammar_from_lark(any_to_lark(text) if _GBNF.search(text) else text)
    except GbnfToLarkError as error:
        raise _unsuitable(definition, str(error)) from None


def _unsuitable(definition: Definition, error: str) -> RequestError:
    return RequestError(
        f"{definition.option}: expected what llguidance can hold an answer to, found: {_line(error)}. Nothing is "
        "passed over: leave it out"
    )


def _line(error: str) -> str:
    return " ".join(error.split("<state>", maxsplit=1)[0].split())[:_MOST_OF_AN_ERROR]


def _line_breaks(tokenizer: Tokenizer) -> dict[int, int]:
    """Tokens of line breaks alone that models put behind their thoughts, and how many breaks each has."""
    found = {count: tokenizer.encode("\n" * count) for count in (1, 2)}
    return {tokens[0]: count for count, tokens in found.items() if len(tokens) == 1}
