"""One line on a terminal's standard error that is written over."""

from __future__ import annotations

import sys
import time


class StatusLine:
    """How far a long command is."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._visible, self._width = sys.stderr.isatty() and not quiet, 0

    def show(self, text: str) -> None:
        """Replaces the line."""
        if self._visible:
            print("\r" + text.ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = len(text)

    def end(self) -> None:
        """What follows begins on a line of its own."""
        if self._width:
            print(file=sys.stderr)
            self._width = 0

    def erase(self) -> None:
        """What follows takes the line's place."""
        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)
            self._width = 0


class PromptProgress:
    """Says how much of a prompt is read, if that takes long."""

    PATIENCE = 0.5  # seconds; shorter waits need no word

    def __init__(self) -> None:
        self._line = StatusLine()
        self._started = time.monotonic()

    def __call__(self, done: int, tokens: int) -> None:
        """For `generate`'s progress."""
        if done == tokens:
            self._line.erase()
        elif time.monotonic() - self._started > self.PATIENCE:
            self._line.show(f"reading the prompt: {done} of {tokens} tokens")

    def end(self) -> None:
        """After an interruption."""
        self._line.erase()
