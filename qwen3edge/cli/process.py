"""The process that a verb runs in: its standard streams, and the signals that end it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Terminated(BaseException):
    """A signal that ends the process, on its way through what has to be cleaned up."""


def open_standard_streams() -> None:
    """Gives a process that was started without some of them (a daemon, `>&-`, a windowed bundle) the null device there.

    Else the next file that is opened, a model that is being written, takes the number of one, and whatever is printed.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  (as long as the process)


@contextlib.contextmanager
def unwound_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP leave the block as an exception, so that half-written files go; then they end the process.

    Those that someone has chosen what to do with stay as they are, and so do all outside of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def unwind(number: int, frame: FrameType | None) -> None:
        for each in mine:
            signal.signal(each, signal.SIG_DFL)  # the second one does not wait
        received.append(number)
        raise Terminated

    mine = [each for each in _ENDING if signal.getsignal(each) is signal.SIG_DFL]
    try:
        for each in mine:
            signal.signal(each, unwind)
        yield
    except Terminated:
        pass
    finally:
        for each in mine:
            signal.signal(each, signal.SIG_DFL)
        if received:
            os.kill(os.getpid(), received[0])
