"""`qwen3edge plan MODEL`."""

from __future__ import annotations

import argparse
import json

from qwen3edge.cli import arguments as options
from qwen3edge.generation.model import plan


def run(arguments: argparse.Namespace) -> int:
    """Prints what loading with the same options will take."""
    result = plan(arguments.model, **options.loading(arguments))
    print(json.dumps(result.as_dict()) if arguments.json else result.table())
    return 0
