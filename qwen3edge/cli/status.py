"""One line on a terminal that is written over."""

from __future__ import annotations

from typing import TextIO


class StatusLine:
    """How far a long command is."""

    def __init__(self, stream: TextIO, *, visible: bool) -> None:
        self._stream, self._visible, self._width = stream, visible, 0

    def show(self, text: str) -> None:
        """Replaces the line."""
        if self._visible:
            print("\r" + text.ljust(self._width), end="", file=self._stream, flush=True)
            self._width = len(text)

    def end(self) -> None:
        """What follows begins on a line of its own."""
        if self._visible and self._width:
            print(file=self._stream)
            self._width = 0
