"""Lines of an answer that are broken between words, while it comes in pieces."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

_TAB = 8
_FENCE = "```"
_OPENING = frozenset("([{<\"'“‘（［｛〈《「『【〔")
_CLOSING = frozenset(")]}>.,;:!?%\"'”’）］｝〉》」』】〕、。，．；：！？…—～％")


class LineWrapper:
    """Takes text and gives back what may be shown: all but the word at its end, whose line is not known yet.

    Between Chinese or Japanese characters a line may break as well, but not before a closing mark. Code between fences
    is left as it is, so that it can be copied; so are the breaks of the text itself.
    """

    def __init__(self, width: Callable[[], int]) -> None:
        """width: columns of the terminal now; 0 if it has none."""
        self._width = width
        self._code = False
        self._gap = self._word = self._line = ""
        self._column = 0

    def push(self, text: str) -> str:
        """No more is held back than one row."""
        shown = []
        for character in text:
            if character == "\n":
                shown.append(self.finish() + "\n")
                if self._line.lstrip().startswith(_FENCE):
                    self._code = not self._code
                self._begin_line()
                continue
            if len(self._line) < _TAB:
                self._line += character
            if character in " \t":
                shown.append(self._place())
                self._gap += character
                continue
            if self._word and self._breaks_before(character):
                shown.append(self._place())
            self._word += character
            if len(self._word) >= self._width() > 0:
                shown.append(self._place())
        return "".join(shown)

    def finish(self) -> str:
        """What was held back."""
        rest = self._place()
        end = self._after(self._gap)
        if end <= (self._width() or end) or self._code:
            rest, self._column = rest + self._gap, end
        self._gap = ""
        return rest

    def _begin_line(self) -> None:
        self._gap = self._word = self._line = ""
        self._column = 0

    def _place(self) -> str:
        if not self._word:
            return ""
        width, cells, begin = self._width(), sum(map(_cells, self._word)), self._after(self._gap)
        if self._column > 0 and begin + cells > width >= cells and not self._code:
            shown, self._column = "\n" + self._word, cells
        else:
            shown, self._column = self._gap + self._word, begin + cells
            if self._column > width > 0:
                self._column = self._column % width or width  # the terminal's own break
        self._gap = self._word = ""
        return shown

    def _after(self, blanks: str) -> int:
        column = self._column
        for blank in blanks:
            column += _TAB - column % _TAB if blank == "\t" else 1
        return column

    def _breaks_before(self, character: str) -> bool:
        last = self._word[-1]
        if not _cells(character) or last == "\u200d" or character in _CLOSING or last in _OPENING:
            return False
        return _ideograph(character) or _ideograph(last)


def wrapped(text: str, width: int) -> str:
    """A whole text."""
    wrapper = LineWrapper(lambda: width)
    return wrapper.push(text) + wrapper.finish()


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _ideograph(character: str) -> bool:
    """A wide one, but of Hangul, whose words have blanks between them."""
    return (
        unicodedata.east_asian_width(character) in "WF"
        and not "\u1100" <= character <= "\u11ff"
        and not ("\uac00" <= character <= "\ud7a3")
    )
