"""`qwen3edge convert SRC OUT.q3e`."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from qwen3edge.cli import arguments as options
from qwen3edge.cli.output import print_report
from qwen3edge.errors import RequestError

if TYPE_CHECKING:
    from qwen3edge.convert import Recipe

HELP = "turn a Hugging Face checkpoint or a GGUF file into one .q3e file"
_MUCH = 1.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A checkpoint, a file, and how to quantize."""
    parser.add_argument(
        "source", metavar="SRC", help="folder with config.json, safetensors and tokenizer.json, or a GGUF file"
    )
    parser.add_argument("target", metavar="OUT.q3e")
    parser.add_argument(
        "--quant",
        help="int4 (default; for a quantized GGUF file what holds its weights), int6, int8, bf16, f32, or a block "
        "format of docs/format.md",
    )
    parser.add_argument(
        "--lora",
        metavar="DIR",
        action="append",
        help="an adapter (PEFT or mlx-lm) to merge into the weights before quantizing; several are merged in order",
    )
    parser.add_argument(
        "--recipe", metavar="FILE", help="JSON (docs/quality.md), or a .q3e file to do as was done for it"
    )
    parser.add_argument(
        "--imatrix", "--calibration", metavar="FILE", help="statistics of calibrate, or llama.cpp's importance matrix"
    )
    parser.add_argument(
        "--quantizer",
        choices=["search", "weighted", "gptq"],
        help="search (default), weighted (with --imatrix), or gptq: takes longer, needs calibrate --gram",
    )
    parser.add_argument(
        "--target-bits", type=float, metavar="BITS", help="a weight: formats by measured sensitivity instead of --quant"
    )
    parser.add_argument(
        "--no-tokenizer", action="store_true", help="convert a checkpoint that has none, for token ids alone"
    )
    parser.add_argument(
        "--chat-template", metavar="FILE", help="a Jinja2 template to pack in place of the checkpoint's own"
    )
    parser.add_argument(
        "--rope-scaling",
        metavar="yarn[:FACTOR[:POSITIONS]]",
        help="for longer contexts, costs short ones a little; default 4 times the 32,768 positions of Qwen3's training",
    )
    options.add_threads(parser)
    options.add_quiet(parser, "bar")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Converts; the progress goes to standard error, what was made to standard output."""
    from qwen3edge.cli.progress import progress_bar
    from qwen3edge.convert import convert, read_recipe

    quant: str | Recipe | None = arguments.quant
    if arguments.recipe is not None:
        if quant is not None or arguments.target_bits is not None:
            raise RequestError("--recipe: expected neither --quant nor --target-bits beside it")
        quant = read_recipe(arguments.recipe)
    with progress_bar(quiet=arguments.quiet) as show:
        report = convert(
            arguments.source,
            arguments.target,
            quant,
            progress=show,
            threads=arguments.threads,
            imatrix=arguments.imatrix,
            quantizer=arguments.quantizer,
            target_bits=arguments.target_bits,
            lora=arguments.lora,
            allow_missing_tokenizer=arguments.no_tokenizer,
            chat_template=arguments.chat_template,
            rope_scaling=arguments.rope_scaling,
        )
    print_report(report, as_json=arguments.json, bits_per_weight=report.bits_per_weight)
    whole = os.path.isfile(arguments.source) and "-of-" not in os.path.basename(arguments.source)  # not of a split file
    before = os.path.getsize(arguments.source) if whole else 0
    asked = arguments.json or quant is not None or arguments.target_bits is not None
    if not asked and 0 < _MUCH * before < report.nbytes:
        print(
            f"  {100 * report.nbytes / before - 100:.0f} % larger than the GGUF file, whose weights it holds as they "
            "are; --quant int4 makes it smaller, for some quality"
        )
    return 0
