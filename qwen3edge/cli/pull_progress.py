"""How far a pull is: on a terminal, and for programs."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from qwen3edge.cli.output import print_json
from qwen3edge.hub.steps import Step

_WIDTH = 36  # characters of a file's or a tensor's name
_EVERY = 0.2  # seconds


@contextlib.contextmanager
def pull_bar(*, quiet: bool) -> Iterator[Callable[[Step], None]]:
    """One line on standard error; gives what `pull` calls."""
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet or not sys.stderr.isatty()) as bar:
        task, doing = bar.add_task("", total=None), ""

        def show(step: Step) -> None:
            nonlocal task, doing
            if step.doing != doing:  # its own speed
                bar.remove_task(task)
                task, doing = bar.add_task("", total=None, completed=step.done), step.doing
            text = f"{step.doing} {step.what[:_WIDTH]}"
            bar.update(task, total=step.total or None, completed=step.done, description=text)

        yield show


class JsonSteps:
    """A line a step on standard output; of those that follow each other quickly some are left out."""

    def __init__(self) -> None:
        self._last, self._when = "", 0.0

    def __call__(self, step: Step) -> None:
        now = time.monotonic()
        if step.doing == self._last and now < self._when + _EVERY:
            return
        self._last, self._when = step.doing, now
        print_json(asdict(step))
        sys.stdout.flush()
