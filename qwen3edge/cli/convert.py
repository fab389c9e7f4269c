"""`qwen3edge convert SRC OUT.q3e`."""

from __future__ import annotations

import argparse
import json
import sys
from types import TracebackType

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from qwen3edge.convert import Progress, convert
from qwen3edge.runtime.plan import format_bytes


def run(arguments: argparse.Namespace) -> int:
    """Converts; the progress goes to standard error, what was made to standard output."""
    with _ProgressBar(sys.stderr.isatty() and not arguments.quiet) as bar:
        report = convert(
            arguments.source, arguments.target, arguments.quant, progress=bar.show, threads=arguments.threads
        )
    if arguments.json:
        result = {
            "path": str(report.path),
            "nbytes": report.nbytes,
            "seconds": report.seconds,
            "bits_per_weight": report.bits_per_weight,
            "tensors": len(report.tensors),
            "notes": list(report.notes),
        }
        print(json.dumps(result))
        return 0
    print(
        f"{report.path}: {format_bytes(report.nbytes)}, {report.bits_per_weight:.2f} bits a weight, "
        f"{len(report.tensors)} tensors in {report.seconds:.1f} s"
    )
    for note in report.notes:
        print(f"  {note}")
    return 0


class _Bytes(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{decimal(int(task.completed))} of {decimal(int(task.total or 0))}")


class _ProgressBar:
    """Tensor, bytes and time left, in one line."""

    def __init__(self, visible: bool) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), _Bytes(), TimeRemainingColumn()
        self._bar = Bar(*columns, console=Console(stderr=True), disable=not visible)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> _ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, progress: Progress) -> None:
        """Called by the converter after each piece."""
        self._bar.update(
            self._task,
            total=progress.total_bytes,
            completed=progress.done_bytes,
            description=f"{progress.index + 1}/{progress.count} {progress.tensor}",
        )
