"""`qwen3edge export MODEL OUT`."""

from __future__ import annotations

import argparse

from qwen3edge.cli import arguments as options
from qwen3edge.cli.output import print_report
from qwen3edge.errors import RequestError

HELP = "turn a .q3e file into a GGUF file, or a folder for vLLM, SGLang and transformers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model, and what to make of it."""
    options.add_model(parser)
    parser.add_argument("target", metavar="OUT", help="a file, or with --to compressed-tensors a new folder")
    parser.add_argument("--to", default="gguf", choices=["gguf", "compressed-tensors"], help="gguf (default)")
    parser.add_argument(
        "--type",
        action="append",
        metavar="FORMAT=TYPE",
        help="what a block format becomes (docs/gguf.md), such as q4z32=Q8_0",
    )
    options.add_threads(parser)
    options.add_quiet(parser, "bar")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Exports; the progress goes to standard error, what was made to standard output."""
    from qwen3edge.cli.progress import progress_bar
    from qwen3edge.convert import export_compressed, export_gguf

    types = dict(_pair(text) for text in arguments.type or ())
    with progress_bar(quiet=arguments.quiet) as show:
        export = export_gguf if arguments.to == "gguf" else export_compressed
        model = options.model_path(arguments.model)
        report = export(model, arguments.target, types=types, progress=show, threads=arguments.threads)
    print_report(report, as_json=arguments.json)
    return 0


def _pair(text: str) -> tuple[str, str]:
    name, equals, kind = text.partition("=")
    if not equals:
        raise RequestError(f"--type: expected FORMAT=TYPE such as q4z32=Q8_0, found {text!r}")
    return name, kind
