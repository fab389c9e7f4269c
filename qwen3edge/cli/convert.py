"""`qwen3edge convert SRC OUT.q3e`."""

from __future__ import annotations

import argparse
import json
import sys

from qwen3edge.cli.progress import ProgressBar
from qwen3edge.convert import convert
from qwen3edge.runtime.plan import format_bytes


def run(arguments: argparse.Namespace) -> int:
    """Converts; the progress goes to standard error, what was made to standard output."""
    with ProgressBar(sys.stderr.isatty() and not arguments.quiet) as bar:
        report = convert(
            arguments.source,
            arguments.target,
            arguments.quant,
            progress=bar.show,
            threads=arguments.threads,
            lora=arguments.lora,
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
