"""`qwen3edge aot --target TARGET --model MODEL --out DIR`."""

from __future__ import annotations

import argparse
import json
from importlib import import_module

from qwen3edge.errors import UnsupportedModelError


def run(arguments: argparse.Namespace) -> int:
    """Compiles, and says what was written."""
    try:
        aot = import_module("qwen3edge.runtime.aot")
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "triton"):
            raise
        raise UnsupportedModelError(
            f"expected torch and triton, to compile with, found no {error.name}: pip install 'qwen3edge[gpu]'"
        ) from None
    kernels = aot.build(arguments.target, arguments.model, arguments.out)
    files = {kernel.file for kernel in kernels}
    if arguments.json:
        print(json.dumps({"out": str(arguments.out), "kernels": len(kernels), "files": sorted(files)}))
    else:
        print(f"{arguments.out}: {len(kernels)} kernels in {len(files)} files, {aot.MANIFEST}, {aot.HEADER}")
    return 0
