"""Quantized matrix times activations: GEMV (1 token) to GEMM (512), on the shapes of Qwen3.

python bench/bench_matmul.py --size 0.6B --format q4z32 --format q8 --tokens 1 --tokens 512

python bench/bench_matmul.py --shape 1024x4096 --format q4z32 --tokens 1     one matrix: rows (outputs) x columns

python bench/bench_matmul.py --sweep --rounds 1      every shape, format and group, 1 to 512 tokens: half an hour

GB_s counts the packed matrix once; GOPS counts two operations a weight and token. The matrices of a run take turns and
exceed the caches together, unless --cached is given. us: of one product, the median; spread: (slowest - fastest) /
median of its samples, above 0.2 on a machine that others use. of_read, of_peak: shares of this machine's read
bandwidth and int8 peak, measured before.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
from harness import BenchError, Report, begin, core, interleave, main, operation_parser, positive, timer, usable_threads
from shapes import SIZES

CHECK_ROWS = 40  # two panels and a half
CHECK_TOKENS = 9
ORACLE_TOLERANCE = 1e-6  # float32 sums of a block's exact products against float64, rms
HEAD_TOKENS = 8  # logits are wanted for few tokens
MEMORY_BYTES, GEMM_BYTES = 256 << 20, 64 << 20  # of all matrices of a run: a GEMM's time is arithmetic
GEMM_TOKENS = 16
SWEEP_TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def oracle(native: Any, name: str, packed: Any, shape: tuple[int, int], x: Any) -> Any:
    """The product in float64, with activations rounded as docs/format.md says."""
    weights = native.dequantize(name, packed, *shape).astype(np.float64)
    block = next(format["block"] for format in native.block_formats() if format["name"] == name)
    if block == 0:
        return x.astype(np.float64) @ weights.T
    quants, scales, _ = native.kernels.quantize_activations("scalar", x, block)
    rounded = quants * np.repeat(scales.astype(np.float64), block, axis=1)[:, : shape[1]]
    return rounded @ weights.T


def check(report: Report, name: str, columns: int, isa: str) -> str:
    """A narrow matrix of the same K: equal to the scalar tier, and that near float64. Returns the case."""
    native, case = core(), f"{name} K={columns} {isa}"
    if case in report.checked:
        return case
    random = np.random.default_rng(columns)
    weights = random.standard_normal((CHECK_ROWS, columns)).astype(np.float32)
    x = random.standard_normal((CHECK_TOKENS, columns)).astype(np.float32)
    packed = native.quantize(name, weights)
    expected = native.kernels.matmul("scalar", name, packed, CHECK_ROWS, columns, x)
    report.check(case, expected, oracle(native, name, packed, weights.shape, x), ORACLE_TOLERANCE)
    for tokens in (1, 4, CHECK_TOKENS):
        got = native.kernels.matmul(isa, name, packed, CHECK_ROWS, columns, x[:tokens])
        report.check(case, got, expected[:tokens])
    return case


def matrices(arguments: argparse.Namespace, size: str) -> Iterable[tuple[str, tuple[int, int]]]:
    """Name and shape of those to measure: of --shape, or all of a model's."""
    if not arguments.shape:
        return SIZES[size].matrices().items()
    return [(f"{rows}x{columns}", (rows, columns)) for rows, columns in map(parse_shape, arguments.shape)]


def parse_shape(text: str) -> tuple[int, int]:
    """Raises BenchError."""
    rows, _, columns = text.partition("x")
    if not (rows.isdecimal() and columns.isdecimal() and int(rows) and int(columns)):
        raise BenchError(f"--shape: expected ROWSxCOLUMNS such as 1024x4096, found {text!r}")
    return int(rows), int(columns)


def bench(arguments: argparse.Namespace) -> Report:
    native, threads = core(), usable_threads(arguments.threads)
    report, isas = begin(f"Matrix products, {threads} threads", arguments, threads)
    assert report.limits is not None
    read = report.limits.read_bytes_per_second[threads]
    sizes, formats, counts = ["0.6B"], ["q4z32", "q6z32", "q8"], [1, 8, 32, 512]
    groups = {each["name"]: each["group"] for each in native.block_formats()}
    if arguments.sweep:
        quantized = [name for name in groups if name.startswith("q")]
        sizes, formats, counts = list(SIZES), quantized, list(SWEEP_TOKENS)
    if arguments.shape:
        sizes = ["given"]
    for size, name in itertools.product(arguments.size or sizes, arguments.format or formats):
        if name not in groups:
            raise BenchError(f"--format: expected one of {', '.join(groups)}, found {name!r}")
        chosen = matrices(arguments, size)
        for (matrix, (rows, columns)), tokens in itertools.product(chosen, arguments.tokens or counts):
            fits = name.startswith("q8") or columns % max(groups[name], 1) == 0
            if not fits or (matrix == "head" and tokens > HEAD_TOKENS):
                continue
            cases = {isa: check(report, name, columns, isa) for isa in isas}
            nbytes = native.packed_nbytes(name, rows, columns)
            memory = GEMM_BYTES if tokens >= GEMM_TOKENS else max(MEMORY_BYTES, 2 * nbytes)
            time = functools.partial(
                timer("time_matmul"), format=name, rows=rows, columns=columns, tokens=tokens,
                threads=threads, seconds=arguments.seconds, bytes=1 if arguments.cached else memory,
            )  # fmt: skip
            measured = interleave({isa: functools.partial(time, isa=isa) for isa in isas}, arguments.rounds, "s")
            for isa in isas:
                seconds = measured[isa].median
                operations = 2 * rows * columns * tokens / seconds
                report.add(
                    cases[isa],
                    size=size,
                    matrix=matrix,
                    rows=rows,
                    columns=columns,
                    format=name,
                    tokens=tokens,
                    isa=isa,
                    us=seconds * 1e6,
                    spread=measured[isa].spread,
                    GB_s=nbytes / seconds / 1e9,
                    of_read=nbytes / seconds / read,
                    GOPS=operations / 1e9,
                    of_peak=operations / report.limits.int8_operations_per_second[isa],
                )
    return report


if __name__ == "__main__":
    options = operation_parser(__doc__ or "")
    which = options.add_mutually_exclusive_group()
    which.add_argument("--size", action="append", choices=list(SIZES), help="default: 0.6B; may be repeated")
    which.add_argument("--shape", action="append", metavar="ROWSxCOLUMNS", help="one matrix; may be repeated")
    options.add_argument("--format", action="append", help="default: q4z32, q6z32 and q8; may be repeated")
    options.add_argument("--tokens", action="append", type=positive, help="default: 1, 8, 32, 512; may be repeated")
    options.add_argument("--threads", type=positive, help="default: as many as this process may use")
    options.add_argument("--sweep", action="store_true", help="all, for what is not given")
    options.add_argument("--cached", action="store_true", help="one matrix again and again")
    sys.exit(main(bench, options))
