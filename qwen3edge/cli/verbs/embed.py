"""`qwen3edge embed MODEL FILE`."""

from __future__ import annotations

import argparse

from qwen3edge.cli import arguments as options
from qwen3edge.cli.output import print_json

HELP = "print the embedding of each line of a file, an array of JSON a line"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model, texts, and how it is loaded."""
    options.add_model(parser)
    parser.add_argument("file", metavar="FILE", help="a text a line, blank ones left out; - for standard input")
    parser.add_argument("--instruction", metavar="TEXT", help="the lines are queries, and this says what is looked for")
    parser.add_argument("--dimensions", type=int, metavar="N", help="the first N numbers (default: all)")
    options.add_loading(parser)
    options.add_sequences(parser, "texts that are computed together")


def run(arguments: argparse.Namespace) -> int:
    """Reads the file to its end, then prints."""
    from qwen3edge.cli.prompts import read_lines
    from qwen3edge.generation.model import load

    with load(arguments.model, **options.loading(arguments)) as model:
        texts = read_lines(arguments.file, model.plan.context, "texts")
        for row in model.embed(texts, arguments.instruction, arguments.dimensions):
            print_json(row.tolist())
    return 0
