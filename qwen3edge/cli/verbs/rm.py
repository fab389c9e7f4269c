"""`qwen3edge rm NAME`."""

from __future__ import annotations

import argparse

from qwen3edge.runtime.plan import format_bytes

HELP = "remove a model from the cache"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Names."""
    parser.add_argument(
        "names", metavar="NAME", nargs="+", help="all of a repository, or with :int4 or :Q4_K_M one packed file of it"
    )
    parser.add_argument("--source", choices=["huggingface", "modelscope"], help="only what is from there")


def run(arguments: argparse.Namespace) -> int:
    """Removes them, and with the last packed file of a repository its checkpoint."""
    from qwen3edge.hub.inventory import remove

    for name in arguments.names:
        for entry in remove(name, arguments.source):
            print(f"{entry.name} ({entry.tag}): {format_bytes(entry.nbytes)} freed")
    return 0
