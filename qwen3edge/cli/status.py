"""One line on a terminal's standard error that is written over."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable


class StatusLine:
    """How far a long command is."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.visible = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not quiet
        """Whether anybody sees it."""
        self._width = 0

    def show(self, text: str) -> None:
        """Replaces the line. What goes beyond the terminal's width is left out, as it could not be written over."""
        if self.visible:
            text = text[: self._columns() - 1]
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

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(sys.stderr.fileno()).columns or sys.maxsize
        except (OSError, ValueError):  # it has no size
            return sys.maxsize


class Spinner:
    """A line that turns while this thread waits, however long a single step takes. It comes late: short waits need no
    word.
    """

    PATIENCE = 0.5  # seconds
    _TICK = 0.1
    _MARKS = "|/-\\"  # which every encoding has

    def __init__(self, text: Callable[[float], str]) -> None:
        """text(seconds): what the line says after so long; called in another thread."""
        self._text = text
        self._line = StatusLine()
        self._lock = threading.Lock()  # held by whoever writes the line
        self._ended: threading.Event | None = None
        self._began = 0.0  # when it began first

    def begin(self) -> None:
        """From now on, or again; nothing if it turns already, or where nobody looks."""
        if self._line.visible and self._ended is None:
            self._began = self._began or time.monotonic()
            self._ended = threading.Event()
            threading.Thread(target=self._turn, args=(self._ended,), daemon=True).start()

    def end(self) -> None:
        """What is written next takes the line's place."""
        if self._ended is not None:
            with self._lock:
                self._ended.set()
                self._line.erase()
            self._ended = None

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *error: object) -> None:
        self.end()

    def _turn(self, ended: threading.Event) -> None:
        for mark in itertools.cycle(self._MARKS):
            if ended.wait(self._TICK):
                return
            waited = time.monotonic() - self._began
            with self._lock:
                if ended.is_set():
                    return
                if waited > self.PATIENCE:
                    self._line.show(f"{mark} {self._text(waited)}")


class PromptProgress(Spinner):
    """Says how much of a prompt is read. It ends by itself when all is."""

    def __init__(self) -> None:
        super().__init__(self._said)
        self._tokens = 0  # of the whole prompt
        self._chunks: list[tuple[int, float]] = []  # tokens of the prompt that were there, and when: first and last

    def __call__(self, done: int, tokens: int) -> None:
        """For `generate`'s progress."""
        self._tokens = tokens
        self._chunks = [*self._chunks[:1], (done, time.monotonic())]
        if done == tokens:
            self.end()

    def _said(self, waited: float) -> str:
        """The rate is that of the chunks after the first, which has the tokens from the cache as well."""
        if not self._chunks:
            return f"reading the prompt: {waited:.0f} s"
        (first, began), (done, now) = self._chunks[0], self._chunks[-1]
        rate = f", {(done - first) / (now - began):.0f} tok/s" if now > began else ""
        return f"reading the prompt: {done} of {self._tokens} tokens, {waited:.0f} s{rate}"
