"""Texts that stand in a prompt without a template, as text alone: names of tokens in them are none."""

from __future__ import annotations

from qwen3edge.errors import ContextError
from qwen3edge.text.guard import TextGuard
from qwen3edge.text.tokenizer import Tokenizer, TokenLimitError

_COUNTED = 8  # contexts, to say how long a text is


def plain_tokens(tokenizer: Tokenizer, name: str, text: str, limit: int) -> list[int]:
    """The ids of a text. name: of the argument. Raises ContextError for one that is far longer than `limit` tokens."""
    try:
        TextGuard(tokenizer, context=limit).raw(text)
    except ContextError:
        raise too_long(name, limit + 1, limit, f"a text of {len(text)} characters") from None
    most = _COUNTED * limit
    try:
        return tokenizer.encode(text, limit=most)
    except TokenLimitError:
        raise too_long(name, most, limit, f"more than {most}") from None


def too_long(name: str, tokens: int, context: int, found: str) -> ContextError:
    """What is raised for a text that does not fit."""
    return ContextError(
        f"{name}: expected at most {context} tokens with what stands around a text (the context), found {found}: "
        "load the model with a larger context (--context N), or split the text",
        tokens=tokens,
        context=context,
    )
