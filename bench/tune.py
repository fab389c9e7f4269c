"""Measures the tiles of the quantized matmuls on this machine's GPU and writes them to kernels/configs/<target>.json.

python bench/tune.py --model 0.6B                    both ops, three sizes of batch
python bench/tune.py --model 4B --op matmul_a16 --dry-run

Every candidate is compared with the torch reference before it is timed; one that is wrong, does not compile or does not
fit is left out. A candidate's time is that of all matrices of a layer (and a share of the head). What a device measured
replaces what static counts had chosen; other ops in the file stay as they are. Without a GPU nothing is written.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import triton

from qwen3edge import _core
from qwen3edge.kernels.configuration import CONFIGS, target_of
from qwen3edge.kernels.matmul_a8 import matmul_a8_kernel
from qwen3edge.kernels.matmul_a16 import matmul_a16_kernel
from qwen3edge.kernels.matmul_launch import launch
from qwen3edge.kernels.matmul_parts import MatrixParts
from qwen3edge.kernels.matmul_plan import MatrixShape, half_plan, launch_plan, model_matrices
from qwen3edge.kernels.packing import DeviceMatrix
from qwen3edge.kernels.quantize_activations import quantize_activations
from qwen3edge.kernels.references import quantized_matmul as reference
from qwen3edge.kernels.specialization import MODEL_SHAPES
from qwen3edge.runtime.aot_shapes import config_of, layer_formats

OPS = ("matmul_a16", "matmul_a8")
# Up to how many tokens an entry serves, and with how many it is measured.
BATCHES: tuple[tuple[int | None, int], ...] = ((8, 1), (32, 32), (None, 512))
TOLERANCE = 2e-2  # relative to max(rms, |reference|), as in the tests

Entry = Mapping[str, int]
Measure = Callable[[str, MatrixShape, int, Entry], float]  # microseconds; infinity for a candidate to leave out


def candidates(tokens: int, amd: bool) -> Iterator[dict[str, int]]:
    """Tiles worth a try for that many tokens."""
    least = 16 if amd else 8  # the smallest second dimension of a matrix instruction
    if tokens <= 8:
        sizes = itertools.product((least,), (16, 32, 64), (1,), (1, 2, 4), (2, 3, 4, 5), (128, 256, 512, 1024, 2048))
    elif tokens <= 32:
        sizes = itertools.product((32,), (32, 64, 128), (0, 1), (2, 4, 8), (2, 3, 4), (0, 64, 256, 1024))
    else:
        sizes = itertools.product((32, 64, 128), (64, 128, 256), (0, 1), (4, 8), (2, 3, 4), (0,))
    for block_m, block_n, swapped, warps, stages, programs in sizes:
        if block_n >= 16 * warps or block_m >= 16 * warps:  # else warps repeat each other's work
            entry = {"BLOCK_M": block_m, "BLOCK_N": block_n, "SWAPPED": swapped}
            entry |= {"num_warps": warps, "num_stages": stages}
            yield entry | ({"programs": programs} if programs else {})


def products(model: str, recipe: str) -> dict[MatrixShape, float]:
    """The matrices that a file of the recipe has, and how many of each a layer has in the mean."""
    shape = MODEL_SHAPES[model]
    layers = layer_formats(config_of(shape), recipe)
    found: Counter[MatrixShape] = Counter()
    for formats in layers:
        found.update(matrix for matrix in model_matrices(replace(shape, formats=(formats,))) if matrix.name != "head")
    (head,) = (m for m in model_matrices(replace(shape, formats=(layers[0],))) if m.name == "head")
    return {matrix: count / shape.layers for matrix, count in (found + Counter([head])).items()}


def tune(op: str, model: str, measure: Measure, amd: bool, show: Callable[[str], None]) -> list[dict[str, int]]:
    """The best entry for each batch: of the least time for a layer of the recipes that the op is for."""
    chosen = []
    matrices = products(model, "int4" if op == "matmul_a16" else "int8")
    for most, tokens in BATCHES:
        best, best_time = None, float("inf")
        for entry in candidates(tokens, amd):
            time = 0.0
            for matrix, share in matrices.items():
                if tokens <= max(matrix.tokens):
                    time += share * measure(op, matrix, tokens, entry)
                if time >= best_time:
                    break
            if time < best_time:
                best, best_time = entry, time
        if best is None:
            raise SystemExit(f"{op}, {tokens} tokens: no candidate gives the right result")
        show(f"{op} {tokens} tokens: {best_time:.1f} us a layer with {best}")
        chosen.append(({} if most is None else {"max_rows": most}) | best)
    return chosen


def write(path: Path, entries: Mapping[str, Sequence[Entry]]) -> None:
    """Replaces these ops in the file; an op's entries a line each."""
    whole = json.loads(path.read_text()) if path.exists() else {}
    whole |= entries
    ops = (
        f'  "{op}": [\n' + ",\n".join(f"    {json.dumps(entry)}" for entry in lines) + "\n  ]"
        for op, lines in whole.items()
    )
    path.write_text("{\n" + ",\n".join(ops) + "\n}\n")


class Device:
    """Measures on a GPU: random matrices, made once."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.target = target_of(device)
        self.generator = torch.Generator(device).manual_seed(0)
        self.matrices: dict[MatrixShape, DeviceMatrix] = {}

    def measure(self, op: str, shape: MatrixShape, tokens: int, entry: Entry) -> float:
        """Microseconds; infinity where the candidate fails or is wrong."""
        if shape not in self.matrices:
            self.matrices[shape] = random_matrix(shape, self.device)
        matrix = self.matrices[shape]
        fmt, dtype, sizes = matrix.packed_format, torch.bfloat16, (tokens, shape.rows, shape.columns)
        x = torch.randn(tokens, shape.columns, device=self.device, generator=self.generator).to(dtype)
        y, parts = torch.empty(tokens, shape.rows, dtype=dtype, device=self.device), MatrixParts.of(matrix)
        if op == "matmul_a16":
            kernel, plan, inputs = matmul_a16_kernel, half_plan(fmt, *sizes, dtype, self.target, entry), (x,)
            expected = reference.quantized_matmul(x, matrix)
        else:
            quants, scales, sums = quantize_activations(x, fmt.block)
            inputs = (quants, scales, sums if matrix.offsets is not None else None)
            kernel, plan = matmul_a8_kernel, launch_plan(op, fmt, *sizes, self.target, entry)
            expected = reference.rounded_matmul(quants, scales, matrix)

        def run() -> None:
            launch(kernel, plan, inputs, parts, None, y)

        try:
            run()
        except (triton.runtime.errors.OutOfResources, triton.compiler.errors.CompilationError, RuntimeError):
            return float("inf")
        scale = expected.abs().clamp(min=expected.square().mean().sqrt().item())
        error = ((y.float() - expected) / scale).abs().max().item()
        if not error <= TOLERANCE:
            return float("inf")
        return 1000 * triton.testing.do_bench(run)


def random_matrix(shape: MatrixShape, device: torch.device) -> DeviceMatrix:
    """Normal weights, quantized as `convert` does."""
    values = np.random.default_rng(0).standard_normal((shape.rows, shape.columns), np.float32)
    packed = torch.from_numpy(_core.quantize(shape.format, values)).to(device)
    return DeviceMatrix.from_packed(shape.format, packed, shape.rows, shape.columns, device, torch.bfloat16)


def main(arguments: Sequence[str] | None = None) -> int:
    """1 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(MODEL_SHAPES), default="0.6B")
    parser.add_argument("--op", action="append", choices=OPS, help="default: both")
    parser.add_argument("--dry-run", action="store_true", help="print, but write nothing")
    chosen = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("tune: no GPU that torch can use; nothing was measured and nothing was written", file=sys.stderr)
        return 1
    device = Device(torch.device("cuda", torch.cuda.current_device()))
    amd = device.target.startswith("gfx")
    entries = {
        op: tune(op, chosen.model, device.measure, amd, lambda line: print(line, flush=True)) for op in chosen.op or OPS
    }
    if not chosen.dry_run:
        path = CONFIGS / f"{device.target}.json"
        write(path, entries)
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
