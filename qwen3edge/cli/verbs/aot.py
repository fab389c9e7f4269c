"""`qwen3edge aot --target TARGET --model MODEL --out DIR`."""

from __future__ import annotations

import argparse

from qwen3edge.cli import arguments as options
from qwen3edge.cli.output import print_result

HELP = "compile the GPU kernels of a model's shapes, for apps that launch them without Python"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A target, a model's name, a folder."""
    parser.add_argument("--target", required=True, help="sm_80, sm_87, sm_89, sm_90, gfx942 or gfx1100")
    parser.add_argument("--model", required=True, metavar="SHAPE", help="0.6B, 1.7B, 4B, 8B or 30B-A3B")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="a folder for the code, manifest.json and a C header"
    )
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compiles, and says what was written."""
    from qwen3edge.runtime import aot

    kernels = aot.build(arguments.target, arguments.model, arguments.out)
    files = {kernel.file for kernel in kernels}
    result = {"out": str(arguments.out), "kernels": len(kernels), "files": sorted(files)}
    line = f"{arguments.out}: {len(kernels)} kernels in {len(files)} files, {aot.MANIFEST}, {aot.HEADER}"
    print_result(result, line, as_json=arguments.json)
    return 0
