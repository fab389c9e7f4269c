"""`qwen3edge list`."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict

from qwen3edge.cli import arguments as options
from qwen3edge.cli.output import print_result
from qwen3edge.runtime.plan import format_bytes

HELP = "show the models of the cache"
_HEADINGS = ("name", "packed as", "size", "when", "from", "where")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How to tell them."""
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints a line for each packed file, and for each checkpoint that was kept."""
    from qwen3edge.hub.cache import root
    from qwen3edge.hub.inventory import CHECKPOINT, entries

    found = entries()
    rows = [_HEADINGS]
    for entry in found:
        broken = "" if entry.complete else " (not complete)" if entry.tag == CHECKPOINT else " (broken)"
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.seconds))
        rows.append((entry.name, entry.tag + broken, format_bytes(entry.nbytes), when, entry.source, str(entry.path)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS) - 1)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[-1]]) for row in rows]
    text = "\n".join(lines) if found else f"nothing in {root()}: `qwen3edge pull NAME` puts models there"
    print_result([asdict(entry) | {"path": str(entry.path)} for entry in found], text, as_json=arguments.json)
    return 0
