"""`qwen3edge plan MODEL`."""

from __future__ import annotations

import argparse

from qwen3edge.cli import arguments as options
from qwen3edge.cli.output import print_result

HELP = "show what a model will take of the memory"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model, and how it would be loaded."""
    options.add_model(parser)
    options.add_loading(parser)
    options.add_sequences(parser, "answers that are computed together")
    parser.add_argument(
        "--no-texts", dest="texts", action="store_false", help="for a program that passes token ids alone"
    )
    parser.add_argument("--grammars", action="store_true", help="for answers that must match a schema or a grammar")
    options.add_device(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints what loading with the same options will take."""
    from qwen3edge.cli import batch, screen, status  # noqa: F401  # what `run` holds counts in the plan
    from qwen3edge.cli.verbs import run as _  # noqa: F401
    from qwen3edge.generation.model import plan

    result = plan(arguments.model, **options.loading(arguments))
    print_result(result.as_dict(), result.table(), as_json=arguments.json)
    return 0
