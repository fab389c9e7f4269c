"""`qwen3edge convert SRC OUT.q3e`."""

from __future__ import annotations

import argparse
import os
import sys

from qwen3edge.cli.output import print_json
from qwen3edge.cli.progress import ProgressBar
from qwen3edge.convert import Recipe, convert, read_recipe
from qwen3edge.errors import RequestError
from qwen3edge.runtime.plan import format_bytes

_MUCH = 1.05


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
            allow_missing_tokenizer=arguments.no_tokenizer,
            chat_template=arguments.chat_template,
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
        print_json(result)
        return 0
    print(
        f"{report.path}: {format_bytes(report.nbytes)}, {report.bits_per_weight:.2f} bits a weight, "
        f"{len(report.tensors)} tensors in {report.seconds:.1f} s"
    )
    for note in report.notes:
        print(f"  {note}")
    whole = os.path.isfile(arguments.source) and "-of-" not in os.path.basename(arguments.source)  # not of a split file
    before = os.path.getsize(arguments.source) if whole else 0
    if quant is None and arguments.target_bits is None and 0 < _MUCH * before < report.nbytes:
        print(
            f"  {100 * report.nbytes / before - 100:.0f} % larger than the GGUF file, whose weights it holds as they "
            "are; --quant int4 makes it smaller, for some quality"
        )
    return 0
