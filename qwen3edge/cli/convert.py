"""`qwen3edge convert SRC OUT.q3e`."""

from __future__ import annotations

import argparse
import json
import sys

from qwen3edge.cli.progress import ProgressBar
from qwen3edge.convert import Recipe, convert, read_recipe
from qwen3edge.errors import RequestError
from qwen3edge.runtime.plan import format_bytes


def run(arguments: argparse.Namespace) -> int:
    """Converts; the progress goes to standard error, what was made to standard output."""
    quant: str | Recipe | None = arguments.quant
    if arguments.recipe is not None:
        if quant is not None or arguments.target_bits is not None:
            raise RequestError("--recipe: expected neither --quant nor --target-bits beside it")
        quant = read_recipe(arguments.recipe)
    with ProgressBar(sys.stderr.isatty() and not arguments.quiet) as bar:
        report = convert(
            arguments.source,
            arguments.target,
            quant,
            progress=bar.show,
            threads=arguments.threads,
            imatrix=arguments.imatrix,
            quantizer=arguments.quantizer,
            target_bits=arguments.target_bits,
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
