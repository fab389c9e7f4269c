"""How far a conversion is, on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from qwen3edge.convert import Progress


class _Bytes(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{decimal(int(task.completed))} of {decimal(int(task.total or 0))}")


class ProgressBar:
    """Tensor, bytes and time left, in one line."""

    def __init__(self, visible: bool) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), _Bytes(), TimeRemainingColumn()
        self._bar = Bar(*columns, console=Console(stderr=True), disable=not visible)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, progress: Progress) -> None:
        """Called by the converter after each piece."""
        self._bar.update(
            self._task,
            total=progress.total_bytes,
            completed=progress.done_bytes,
            description=f"{progress.index + 1}/{progress.count} {progress.tensor}",
        )
