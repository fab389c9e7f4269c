"""Signals that a child of a test hears, however the tests themselves were started."""

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def heard(*numbers: int) -> Iterator[None]:
    """What is started in the block has the default for these signals.

    A child inherits what is ignored: SIGHUP under nohup, SIGINT in a shell's background job. What has a handler here is
    the default there, and this process goes on regardless.
    """
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
