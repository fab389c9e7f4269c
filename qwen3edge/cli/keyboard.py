"""What a user types or pastes: a message at a time, of one line or of several.

A paste is one message: terminals mark it, which readline understands, and where they do not, lines that are there
already belong together. Lines between triple quotes make one message, and a line that ends in a backslash goes on.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterator

with contextlib.suppress(ImportError):
    import readline  # line editing and history for input()

    if os.environ.get("TERM") != "dumb":
        readline.parse_and_bind("set enable-bracketed-paste on")  # Python switches it off

with contextlib.suppress(ImportError):
    import termios

QUOTES = '"""'
_PROMPT, _MORE = "> ", "... "
_PASTE_SECONDS = 0.02  # between lines of a paste; nobody types a line in that time


class Keyboard:
    """Reads messages from a terminal, or from a pipe a line each."""

    def __init__(self) -> None:
        self.terminal = sys.stdin.isatty()
        self._ended = False  # the end came behind the last line

    def read(self) -> str:
        """The next message. Raises EOFError at the end of the input, KeyboardInterrupt for Ctrl-C at the prompt."""
        text = self._line(_PROMPT)
        if text.lstrip().startswith(QUOTES):
            return self._quoted(text.lstrip())
        while text.endswith("\\"):
            text = text[:-1] + "\n"
            with contextlib.suppress(EOFError):
                text += self._line(_MORE)
        return text

    def _quoted(self, text: str) -> str:
        """From triple quotes to triple quotes, or the end of the input; a paste that opens and closes them stays as it
        is.
        """
        while text.count(QUOTES) % 2:
            try:
                text += "\n" + self._line(_MORE)
            except EOFError:
                text += QUOTES
        if text.count(QUOTES) == 2 and text.rstrip().endswith(QUOTES):
            return text.strip()[len(QUOTES) : -len(QUOTES)].strip("\n")
        return text

    def _line(self, prompt: str) -> str:
        if not self.terminal:
            line = sys.stdin.readline()
            if not line:
                raise EOFError
            return line.rstrip("\r\n")
        if self._ended:
            raise EOFError
        lines = [input(prompt)]
        while not self._ended and select.select([sys.stdin], [], [], _PASTE_SECONDS)[0]:
            try:
                lines.append(input(_MORE))
            except EOFError:
                self._ended = True
        return "\n".join(lines)

    @contextlib.contextmanager
    def unechoed(self) -> Iterator[None]:
        """Keys that are typed meanwhile do not show in the middle of what is written; they are not lost."""
        if not self.terminal or "termios" not in globals():
            yield
            return
        modes = termios.tcgetattr(sys.stdin)
        silent = [*modes[:3], modes[3] & ~termios.ECHO, *modes[4:]]
        termios.tcsetattr(sys.stdin, termios.TCSANOW, silent)
        try:
            yield
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSANOW, modes)
