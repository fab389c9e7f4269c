"""A command on a pseudo-terminal, as a user sits before it."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Sequence

from tests.one_core import on_one_core

PROMPT = "> "
PASTE = "\x1b[200~", "\x1b[201~"
_SECONDS = 90
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")


class Terminal:
    """What was typed and shown. `seen` is what nobody has waited for yet."""

    def __init__(self, *arguments: object, term: str = "xterm", python: Sequence[str] = ("-m", "qwen3edge")) -> None:
        """python: how it is told to run the command."""
        with on_one_core():
            self.pid, self.fd = pty.fork()
            if self.pid == 0:
                self._begin(term, [sys.executable, *python, *map(str, arguments)])
        self.resize(24, 80)
        self.seen = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a read may end within a character

    @staticmethod
    def _begin(term: str, command: list[str]) -> None:
        """In the child."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # background jobs of a shell ignore it
        # Else Ctrl-C throws away output that nobody has read yet, and with it what a test waits for.
        modes = termios.tcgetattr(0)
        modes[3] |= termios.NOFLSH
        termios.tcsetattr(0, termios.TCSANOW, modes)
        os.environ.update(TERM=term, PYTHONIOENCODING="utf-8", INPUTRC="/dev/null")
        os.environ.setdefault("LC_ALL", "C.UTF-8")
        os.execv(sys.executable, command)

    def resize(self, rows: int, columns: int) -> None:
        """As when a window is dragged: the program is told by a signal."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for(self, text: str) -> str:
        """What came before it."""
        deadline = time.monotonic() + _SECONDS
        while text not in self.seen:
            assert time.monotonic() < deadline, f"no {text!r} in {self.seen!r}"
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    read = os.read(self.fd, 4096)
                except OSError:  # its other end is closed
                    read = b""
                assert read, f"it ended without {text!r}: {self.seen!r}"
                self.seen += self.decoder.decode(read)
        before, _, self.seen = self.seen.partition(text)
        return before

    def prompt(self) -> str:
        """Waits until it asks for a message; returns what was shown before."""
        shown = self.wait_for(PROMPT)
        time.sleep(0.3)  # readline misses a signal between its prompt and its wait for keys
        return shown

    def type(self, text: str) -> None:
        """Keys."""
        os.write(self.fd, text.encode())

    def paste(self, text: str) -> None:
        """As terminals do that mark it."""
        self.type(PASTE[0] + text.replace("\n", "\r") + PASTE[1])

    def leave(self) -> int:
        """Ctrl-D at the prompt, and the exit status."""
        self.type("\x04")
        return self.status()

    def status(self) -> int:
        """Once the program has ended by itself."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def plain(shown: str) -> str:
    """Without what steers the terminal."""
    return _ESCAPES.sub("", shown)
