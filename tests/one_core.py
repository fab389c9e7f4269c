"""Models of one thread, without a word to them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def on_one_core() -> Iterator[None]:
    """This thread and what it starts keep to one core, and a model takes as many threads as it finds cores.

    Two workers of pytest, each with a model of two threads, leave a core to no thread for long: at every barrier the
    others wait for the one that has none, for most of the time.
    """
    cores = os.sched_getaffinity(0)
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    os.sched_setaffinity(0, {sorted(cores)[worker % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
