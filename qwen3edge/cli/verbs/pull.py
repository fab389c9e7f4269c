"""`qwen3edge pull OWNER/REPOSITORY`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from qwen3edge.cli import arguments as options
from qwen3edge.cli.output import error_text, print_json, print_result
from qwen3edge.errors import Qwen3EdgeError
from qwen3edge.runtime.plan import format_bytes

if TYPE_CHECKING:
    from qwen3edge.hub.steps import Show, Step

HELP = "fetch a model of Hugging Face or ModelScope and pack it into the cache"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A name, what of it, where from."""
    parser.add_argument(
        "name", metavar="NAME", help="such as Qwen/Qwen3-0.6B; of GGUF files with the type: NAME:Q4_K_M"
    )
    parser.add_argument("--quant", help="as of convert (int4; of what is quantized already what holds its weights)")
    parser.add_argument("--source", help="huggingface or modelscope (QWEN3EDGE_SOURCE, or huggingface)")
    parser.add_argument(
        "--discard", action="store_true", help="remove each file of the checkpoint when it is packed, to save space"
    )
    options.add_threads(parser)
    options.add_quiet(parser, "bar")
    parser.add_argument("--json", action="store_true", help="for programs: progress and result, one object a line")


def run(arguments: argparse.Namespace) -> int:
    """Fetches and packs; progress goes to standard error, the result to standard output. With --json both go there, and
    so does an error.
    """
    try:
        return _run(arguments)
    except (Qwen3EdgeError, OSError) as error:
        if not arguments.json or isinstance(error, BrokenPipeError):
            raise
        print_json({"error": error_text(error)})
        return 1


def _run(arguments: argparse.Namespace) -> int:
    from qwen3edge.cli.pull_progress import JsonSteps, pull_bar
    from qwen3edge.hub.pulling import pull

    with pull_bar(quiet=arguments.quiet) as bar:
        shows: list[Show] = [bar, JsonSteps()] if arguments.json else [bar]

        def show(step: Step) -> None:
            for each in shows:
                each(step)

        pulled = pull(
            arguments.name,
            quant=arguments.quant,
            source=arguments.source,
            discard=arguments.discard,
            threads=arguments.threads,
            show=show,
        )
    done = "is there already, as the hub has it" if pulled.already else f"{format_bytes(pulled.fetched)} fetched"
    text = f"{pulled.name}: {format_bytes(pulled.nbytes)}, {done}\n  {pulled.path}"
    result = asdict(pulled) | {"path": str(pulled.path)}
    print_result(result, "\n  ".join([text, *pulled.notes]), as_json=arguments.json)
    sys.stdout.flush()
    return 0
