"""The text of an answer in plain Python: its own UTF-8 decoder, the marks by id, stop strings by `find`."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Collection, Sequence

BLANKS = " \t\r\n"
Piece = tuple[str, bool]  # text, whether it is a thought's


class AnswerText:
    """As `_core.AnswerText`. think_open, think_close: None in a vocabulary without."""

    def __init__(
        self,
        token_bytes: Callable[[int], bytes],
        control: Collection[int],
        think_open: int | None,
        think_close: int | None,
        *,
        reasoning: bool,
        stops: Sequence[str],
    ) -> None:
        self._token_bytes = token_bytes
        self._control = control
        self._open, self._close = think_open, think_close
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = StopFilter(stops)
        self._held = ""  # blanks that may turn out to stand beside a mark
        self._at_mark = reasoning  # nothing but blanks since the last mark
        self.reasoning = reasoning
        self.reasoning_tokens = 0

    @property
    def stopped(self) -> bool:
        return self._stops.found is not None

    @property
    def stop_string(self) -> str | None:
        """By which stop string."""
        return self._stops.found

    def push(self, token: int) -> list[Piece]:
        if self.stopped:
            return []
        if token in (self._open, self._close):
            parts = self._end()
            self.reasoning, self._at_mark = token == self._open, True
            return parts
        self.reasoning_tokens += self.reasoning
        if token in self._control:
            return []
        text = self._utf8.decode(self._token_bytes(token))
        held = self._utf8.getstate()[0]
        if (
            len(held) == 2 and b"\xed\xa0" <= held <= b"\xed\xbf"
        ):  # half a surrogate: Python waits, though it can be no character
            text += self._rest()
        return self._part(text)

    def finish(self) -> list[Piece]:
        if self.stopped:
            return []
        parts = self._end()
        rest = self._stops.finish()
        return [*parts, (rest, False)] if rest else parts

    def _end(self) -> list[Piece]:
        parts = self._part(self._rest())
        self._held = ""
        return parts

    def _rest(self) -> str:
        rest = self._utf8.decode(b"", True)
        self._utf8.reset()
        return rest

    def _part(self, text: str) -> list[Piece]:
        text = self._held + text
        self._held = ""
        if self._at_mark:
            found = text.lstrip(BLANKS)
            if not found:
                self._held = text
                return []
            blanks = text[: len(text) - len(found)]
            last_break = max(blanks.rfind("\n"), blanks.rfind("\r")) + 1
            text = found if self.reasoning else blanks[last_break:] + found  # an indent belongs to the content
            self._at_mark = False
        if self.reasoning:
            shown = text.rstrip(BLANKS)
            self._held = text[len(shown) :]
        else:
            shown = self._stops.push(text)
        return [(shown, self.reasoning)] if shown else []


class StopFilter:
    """Passes text on up to the first stop string that is complete; it and what follows never come out."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found: str | None = None  # the stop string that was complete first, the longest of those

    def push(self, text: str) -> str:
        held = self._held + text
        found = [(start + len(stop), start, stop) for stop in self._stops if (start := held.find(stop)) >= 0]
        if found:
            _, start, self.found = min(found)
            self._held = ""
            return held[:start]
        keep = max((_overlap(held, stop) for stop in self._stops), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def finish(self) -> str:
        """What was held back and is no stop string after all."""
        rest, self._held = self._held, ""
        return rest


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of text that are the start of stop."""
    for count in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:count]):
            return count
    return 0
