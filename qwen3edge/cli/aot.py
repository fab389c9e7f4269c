"""`qwen3edge aot --target TARGET --model MODEL --out DIR`."""

from __future__ import annotations

import argparse

from qwen3edge.cli.output import print_json
from qwen3edge.runtime import aot


def run(arguments: argparse.Namespace) -> int:
    """Compiles, and says what was written."""
    kernels = aot.build(arguments.target, arguments.model, arguments.out)
    files = {kernel.file for kernel in kernels}
    if arguments.json:
        print_json({"out": str(arguments.out), "kernels": len(kernels), "files": sorted(files)})
    else:
        print(f"{arguments.out}: {len(kernels)} kernels in {len(files)} files, {aot.MANIFEST}, {aot.HEADER}")
    return 0
