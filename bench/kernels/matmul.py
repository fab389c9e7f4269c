"""Quantized matrix times activations: GEMV (1 token) to GEMM (512), on the shapes of Qwen3.

    python -m bench.kernels matmul --size 0.6B --format q4z32 --format q8 --tokens 1 --tokens 512
    python -m bench.kernels matmul --shape 1024x4096 --format q4z32 --tokens 1     one matrix: rows (outputs) x columns

GB_s counts the packed matrix once. The matrices of a run take turns and exceed the caches together, unless --cached is
given. us: of one product, the median.
"""

from __future__ import annotations

import argparse
import functools
import itertools

import numpy as np

from bench.harness import Report, add_tiers, begin, check_tiers, core, positive, usable_threads
from bench.quiet import BenchError
from bench.shapes import SIZES, matrices

CHECK_ROWS = 40  # two panels and a half
CHECK_TOKENS = 9
HEAD_TOKENS = 8  # logits are wanted for few tokens
MEMORY_BYTES, GEMM_BYTES = 256 << 20, 64 << 20  # of all matrices of a run: a GEMM's time is arithmetic
GEMM_TOKENS = 16


def check(report: Report, name: str, columns: int, isas: list[str]) -> str:
    """A narrow matrix of the same K, for few tokens and many. Returns the case."""
    native, case = core(), f"{name} K={columns}"
    if case not in report.checked:
        random = np.random.default_rng(columns)
        packed = native.quantize(name, random.standard_normal((CHECK_ROWS, columns)).astype(np.float32))
        x = random.standard_normal((CHECK_TOKENS, columns)).astype(np.float32)
        for tokens in (1, 4, CHECK_TOKENS):
            matmul = functools.partial(
                native.kernels.matmul, format=name, packed=packed, rows=CHECK_ROWS, columns=columns, x=x[:tokens]
            )
            check_tiers(report, case, matmul, isas)
    return case


def shape(text: str) -> tuple[int, int]:
    """For argparse: "1024x4096"."""
    rows, _, columns = text.partition("x")
    if not (rows.isdecimal() and columns.isdecimal() and int(rows) and int(columns)):
        raise argparse.ArgumentTypeError(f"expected ROWSxCOLUMNS such as 1024x4096, found {text!r}")
    return int(rows), int(columns)


def bench(arguments: argparse.Namespace) -> Report:
    native, threads = core(), usable_threads(arguments.threads)
    report, isas = begin(f"Matrix products, {threads} threads", arguments, threads)
    groups = {each["name"]: each["group"] for each in native.block_formats()}
    sizes = {size: matrices(size) for size in arguments.size or ["0.6B"]}
    if arguments.shape:
        sizes = {"given": {f"{rows}x{columns}": (rows, columns) for rows, columns in arguments.shape}}
    for size, name in itertools.product(sizes, arguments.format or ["q4z32", "q6z32", "q8"]):
        if name not in groups:
            raise BenchError(f"--format: expected one of {', '.join(groups)}, found {name!r}")
        products = itertools.product(sizes[size].items(), arguments.tokens or [1, 8, 32, 512])
        for (matrix, (rows, columns)), tokens in products:
            fits = name.startswith("q8") or columns % max(groups[name], 1) == 0
            if not fits or (matrix == "head" and tokens > HEAD_TOKENS):
                continue
            nbytes = native.packed_nbytes(name, rows, columns)
            memory = GEMM_BYTES if tokens >= GEMM_TOKENS else max(MEMORY_BYTES, 2 * nbytes)
            time = functools.partial(
                native.kernels.time_matmul, format=name, rows=rows, columns=columns, tokens=tokens,
                threads=threads, seconds=arguments.seconds, bytes=1 if arguments.cached else memory,
            )  # fmt: skip
            report.time_tiers(
                check(report, name, columns, isas), time, isas, arguments.rounds, column="us", factor=1e6,
                nbytes=nbytes, operations=2 * rows * columns * tokens,
                size=size, matrix=matrix, rows=rows, columns=columns, format=name, tokens=tokens,
            )  # fmt: skip
    return report


def add_options(parser: argparse.ArgumentParser) -> None:
    add_tiers(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--size", action="append", choices=list(SIZES), help="default: 0.6B; may be repeated")
    which.add_argument("--shape", action="append", type=shape, metavar="ROWSxCOLUMNS", help="one matrix; repeatable")
    parser.add_argument("--format", action="append", help="default: q4z32, q6z32 and q8; may be repeated")
    parser.add_argument("--tokens", action="append", type=positive, help="default: 1, 8, 32, 512; may be repeated")
    parser.add_argument("--threads", type=positive, help="default: as many as this process may use")
    parser.add_argument("--cached", action="store_true", help="one matrix again and again")
