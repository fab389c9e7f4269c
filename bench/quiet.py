"""Nothing is timed on a machine that works for others: wait for it to be quiet, then refuse."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

STAT = Path("/proc/stat")
QUIET_CORES = 0.2
"""What other processes may use of the machine when a bench begins: a neighbour that works uses a whole core."""

QUIET_WAIT = 300.0
QUIET_SAMPLE = 2.0  # seconds


class BenchError(Exception):
    """A bench cannot run, or its result is wrong: one line for the user."""


class BusyMachineError(BenchError):
    """Other processes kept the machine busy for as long as a bench waits."""

    WORDS = "the machine is busy"  # by which a parent knows it in a child's last line


def busy_cores(seconds: float) -> float:
    """How many cores are at work while this process sleeps; where /proc is absent, the load average of a minute."""
    if not STAT.exists():
        return os.getloadavg()[0]
    start, before = time.monotonic(), _busy_ticks()
    time.sleep(seconds)
    return (_busy_ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - start)


def _busy_ticks() -> int:
    """All cores' ticks that were neither idle nor waiting for a disk."""
    fields = STAT.read_text().splitlines()[0].split()[1:9]
    return sum(int(ticks) for i, ticks in enumerate(fields) if i not in (3, 4))


def wait_for_quiet(
    seconds: float = QUIET_WAIT,
    busy: Callable[[float], float] = busy_cores,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Returns when other processes leave the machine alone. Raises BusyMachineError when they have not by `seconds`."""
    until = clock() + seconds
    while (found := busy(QUIET_SAMPLE)) > QUIET_CORES:
        if clock() >= until:
            raise BusyMachineError(
                f"{BusyMachineError.WORDS}: expected at most {QUIET_CORES} cores at work for others within "
                f"{seconds:.0f} s, found {found:.2f}; end what runs beside the bench, or pass --busy-anyway for "
                "figures that nobody keeps"
            )


def add_busy_option(parser: argparse.ArgumentParser) -> None:
    """--busy-anyway, for whoever works on a bench."""
    parser.add_argument(
        "--busy-anyway", action="store_true", help="do not wait for a quiet machine: figures that nobody keeps"
    )
