"""`qwen3edge export MODEL OUT`."""

from __future__ import annotations

import argparse
import sys

from qwen3edge.cli.output import print_json
from qwen3edge.cli.progress import ProgressBar
from qwen3edge.convert import export_compressed, export_gguf
from qwen3edge.errors import RequestError
from qwen3edge.runtime.plan import format_bytes


def run(arguments: argparse.Namespace) -> int:
    """Exports; the progress goes to standard error, what was made to standard output."""
    types = dict(_pair(text) for text in arguments.type or ())
    with ProgressBar(sys.stderr.isatty() and not arguments.quiet) as bar:
        export = export_gguf if arguments.to == "gguf" else export_compressed
        report = export(arguments.model, arguments.target, types=types, progress=bar.show, threads=arguments.threads)
    if arguments.json:
        result = {
            "path": str(report.path),
            "nbytes": report.nbytes,
            "seconds": report.seconds,
            "tensors": len(report.tensors),
            "notes": list(report.notes),
        }
        print_json(result)
        return 0
    print(f"{report.path}: {format_bytes(report.nbytes)}, {len(report.tensors)} tensors in {report.seconds:.1f} s")
    for note in report.notes:
        print(f"  {note}")
    return 0


def _pair(text: str) -> tuple[str, str]:
    name, equals, kind = text.partition("=")
    if not equals:
        raise RequestError(f"--type: expected FORMAT=TYPE such as q4z32=Q8_0, found {text!r}")
    return name, kind
