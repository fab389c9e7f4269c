"""`qwen3edge plan MODEL`."""

from __future__ import annotations

import argparse

from qwen3edge.cli import arguments as options
from qwen3edge.cli import run as _  # noqa: F401  # what `run` holds counts in the plan
from qwen3edge.cli.output import print_json
from qwen3edge.generation.model import plan


def run(arguments: argparse.Namespace) -> int:
    """Prints what loading with the same options will take."""
    result = plan(arguments.model, **options.loading(arguments))
    if arguments.json:
        print_json(result.as_dict())
    else:
        print(result.table())
    return 0
