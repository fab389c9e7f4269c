"""Splits the tokens of an answer into reasoning and content.

It works on the ids of `<think>` and `</think>`, never on text, so that neither mark can leak or be imitated by text.
The line breaks that models put around the marks (none, one, two, with spaces) belong to neither part and are left
out.
"""

from __future__ import annotations

from typing import NamedTuple

from qwen3edge.text.tokenizer import StreamDecoder, Tokenizer

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
_BLANKS = " \t\r\n"


class Segment(NamedTuple):
    """A stretch of an answer's text."""

    text: str
    reasoning: bool


class ThinkingSplitter:
    """Takes tokens one by one and gives back text that is decoded and assigned."""

    def __init__(self, tokenizer: Tokenizer, *, reasoning: bool) -> None:
        """reasoning: the prompt has opened `<think>` already."""
        self._tokenizer = tokenizer
        self._decoder = StreamDecoder(tokenizer)
        self._open = tokenizer.token_id(THINK_OPEN)
        self._close = tokenizer.token_id(THINK_CLOSE)
        self._held = ""  # blanks that may turn out to stand beside a mark
        self._at_mark = reasoning  # nothing but blanks since the last mark
        self.reasoning = reasoning
        self.reasoning_tokens = 0

    def push(self, token: int) -> list[Segment]:
        """The text that this token completes; mostly one part or none."""
        if token in (self._open, self._close):
            parts = self.finish()
            self.reasoning, self._at_mark = token == self._open, True
            return parts
        self.reasoning_tokens += self.reasoning
        if self._tokenizer.is_control(token):
            return []
        return self._part(self._decoder.push(token))

    def finish(self) -> list[Segment]:
        """What is left at the end of the answer, or of a part of it."""
        parts = self._part(self._decoder.finish())
        self._held = ""
        return parts

    def _part(self, text: str) -> list[Segment]:
        text = self._held + text
        self._held = ""
        if self._at_mark:
            found = text.lstrip(_BLANKS)
            if not found:
                self._held = text
                return []
            if not self.reasoning:  # an indent belongs to the content
                blanks = text[: len(text) - len(found)]
                found = blanks[max(blanks.rfind("\n"), blanks.rfind("\r")) + 1 :] + found
            text = found
            self._at_mark = False
        if self.reasoning:
            shown = text.rstrip(_BLANKS)
            self._held = text[len(shown) :]
            text = shown
        return [Segment(text, self.reasoning)] if text else []
