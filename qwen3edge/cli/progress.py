"""How far a conversion is, on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from qwen3edge import convert


class _Bytes(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{decimal(int(task.completed))} of {decimal(int(task.total or 0))}")


@contextlib.contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Callable[[convert.Progress], None]]:
    """Tensor, bytes and time left, in one line; gives what the converter calls after each piece."""
    columns = TextColumn("{task.description}"), BarColumn(), _Bytes(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=quiet or not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=None)
        yield lambda done: bar.update(
            task,
            total=done.total_bytes,
            completed=done.done_bytes,
            description=f"{done.index + 1}/{done.count} {done.tensor}",
        )
