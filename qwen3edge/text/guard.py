"""What texts from outside go through before a template sees them: sizes are counted, tokens' names become text."""

from __future__ import annotations

import sys

from qwen3edge.errors import ContextError
from qwen3edge.text.messages import Guard
from qwen3edge.text.text_size import most_bytes
from qwen3edge.text.tokenizer import Tokenizer

_ITEM_BYTES = 64
_EMPTY = sys.getsizeof("")


class TextGuard(Guard):
    """For one request. Counts before it copies."""

    def __init__(self, tokenizer: Tokenizer, *, tags_as_text: bool = True, context: int | None = None) -> None:
        """tags_as_text: of `PromptBuilder.prompt`. context: tokens; None counts nothing."""
        self._tokenizer = tokenizer
        self._tags_as_text = tags_as_text
        self._context = context
        self.most_characters = None if context is None else 2 * most_bytes(context)  # of the prompt that comes out
        self._left = sys.maxsize if context is None else most_bytes(context)

    def text(self, text: str) -> str:
        self.raw(text)
        return self._tokenizer.protect(text, tags=self._tags_as_text)

    def answer(self, text: str) -> str:
        self.raw(text)
        return self._tokenizer.protect(text, tags=False)

    def raw(self, text: str) -> None:
        """Counts a prompt that is taken as it is."""
        self._count(sys.getsizeof(text) - _EMPTY)

    def item(self) -> None:
        self._count(_ITEM_BYTES)

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            assert self._context is not None
            raise ContextError(
                f"expected texts of at most {most_bytes(self._context)} bytes for a context of {self._context} tokens, "
                "found more: load the model with a larger context (--context N), or leave out the oldest messages",
                tokens=self._context + 1,
                context=self._context,
            )
