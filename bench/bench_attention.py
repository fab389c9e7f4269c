"""One layer's path from projections to attention output: QK-norm, RoPE, KV write, softmax(q k^T) v.

`prefill`: attention alone of a whole sequence. GOPS counts two operations a multiply-add of the two products, causal
half only; `of_peak` is their share of the int8 peak, of which an int8 cache can reach two thirds at most, as its second
product takes two dot products (docs/kernels.md).
`decode`: attention alone for one token after `tokens` positions, on all threads, through so many layers that the KV
cache comes from memory; GB/s counts its keys, values and scales once, `of_read` is their share of the read bandwidth.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
from typing import Any

import numpy as np
from harness import (
    Report,
    begin,
    check_tiers,
    core,
    interleave,
    main,
    operation_parser,
    positive,
    timer,
    usable_threads,
)
from shapes import SIZES, Size

CHECK_TOKENS = 150  # two blocks of the cache and a part
TASK_ROWS = 48  # tokens times query heads a KV head of one task
MEMORY_BYTES = 512 << 20
KV_WIDTH = {"f32": 4, "bf16": 2, "int8": 1, "int4": 0.5}  # bytes a value
THETA = 1e6
EPS = 1e-6
# rms, against float64 with the same rounding of queries, keys and values; of two near ties, one may round the other way
TOLERANCE = {"f32": 1e-6, "bf16": 1e-4, "int8": 2e-3, "int4": 2e-2}


def task_tokens(shape: Size) -> int:
    return TASK_ROWS // (shape.heads // shape.kv_heads)


def frequencies(shape: Size) -> Any:
    return (THETA ** (-np.arange(0, shape.head_dim, 2) / shape.head_dim)).astype(np.float32)


def rounded(x: Any, kv: str) -> Any:
    """[..., head_dim] as the cache holds it: int8 and int4 have one scale a vector."""
    if kv == "int8":
        scale = np.max(np.abs(x), axis=-1, keepdims=True) / 127
        return np.rint(x / scale) * scale
    if kv == "int4":
        top = np.max(np.abs(x), axis=-1, keepdims=True)
        return (2 * np.clip(np.rint(x * 7.5 / top + 7.5), 0, 15) - 15) * top / 15
    if kv == "bf16":
        bits = x.astype(np.float32).view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)
    return x


def hadamard(size: int) -> Any:
    """The normalized Walsh-Hadamard matrix of a power of two."""
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix / np.sqrt(size)


def oracle(shape: Size, qkv: Any, kv: str) -> Any:
    """The same in float64: [tokens, heads, head_dim]."""
    tokens, half = qkv.shape[0], shape.head_dim // 2
    q, k, v = np.split(qkv.astype(np.float64), [shape.heads, shape.heads + shape.kv_heads], axis=1)
    angles = np.arange(tokens)[:, None] * frequencies(shape).astype(np.float64)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]

    def norm_and_rotate(x: Any) -> Any:
        x = x / np.sqrt(np.mean(x * x, axis=2, keepdims=True) + EPS)
        first, second = x[..., :half], x[..., half:]
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=2)

    group = shape.heads // shape.kv_heads
    queries, keys = norm_and_rotate(q), norm_and_rotate(k)
    if kv == "int4":
        queries, keys = queries @ hadamard(shape.head_dim), keys @ hadamard(shape.head_dim)
    keys, values = (np.repeat(rounded(x, kv), group, axis=1) for x in (keys, v))
    queries = rounded(queries, {"int4": "int8", "bf16": "f32"}.get(kv, kv))  # float32 beside a bf16 cache
    scores = np.einsum("thd,shd->hts", queries, keys) / np.sqrt(shape.head_dim)
    scores[:, np.triu(np.ones((tokens, tokens), dtype=bool), 1)] = -np.inf
    weights = np.exp(scores - scores.max(axis=2, keepdims=True))
    return np.einsum("hts,shd->thd", weights / weights.sum(axis=2, keepdims=True), values)


class Attention:
    """One shape and one sequence, to be called with a tier's name."""

    def __init__(self, shape: Size, kv: str, tokens: int, tile: int) -> None:
        random = np.random.default_rng(tokens)
        self.qkv = random.standard_normal((tokens, shape.heads + 2 * shape.kv_heads, shape.head_dim)).astype(np.float32)
        self.shape, self.kv, self.tile = shape, kv, tile
        self.ones, self.frequencies = np.ones(shape.head_dim, np.float32), frequencies(shape)

    def __call__(self, isa: str) -> Any:
        heads, kv_heads = self.shape.heads, self.shape.kv_heads
        return core().kernels.attention(
            isa, self.kv, self.qkv, heads, kv_heads, self.frequencies, self.ones, self.ones, eps=EPS, tile=self.tile
        )


def check(report: Report, size: str, kv: str, isas: list[str]) -> str:
    """Equal on all tiers, near float64, and the same for any size of task. Returns the case."""
    shape, case = SIZES[size], f"{size} {kv}"
    small = Attention(shape, kv, CHECK_TOKENS, task_tokens(shape))
    expected = check_tiers(report, case, small, isas)
    report.check(case, expected, oracle(shape, small.qkv, kv), TOLERANCE[kv])
    report.check(case, check_tiers(report, case, Attention(shape, kv, CHECK_TOKENS, 1), isas), expected)
    return case


def bench(arguments: argparse.Namespace) -> Report:
    threads = usable_threads(arguments.threads)
    report, isas = begin(f"Attention on {threads} threads", arguments, threads)
    assert report.limits is not None
    read = report.limits.read_bytes_per_second[threads]
    for size, kv in itertools.product(arguments.size or ["0.6B", "4B"], arguments.kv or ["int8"]):
        shape, case = SIZES[size], check(report, size, kv, isas)
        time_attention = functools.partial(
            timer("time_attention"), kv=kv, heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim,
            threads=threads, seconds=arguments.seconds,
        )  # fmt: skip
        for tokens in arguments.tokens or [128, 512, 4096]:
            whole = functools.partial(time_attention, context=tokens, tokens=tokens, layers=1)
            samples = {isa: functools.partial(whole, isa) for isa in isas}
            operations = 4 * shape.heads * shape.head_dim * tokens * (tokens + 1) / 2
            for isa, time in interleave(samples, arguments.rounds, "s").items():
                cells = {"us_token": time.median / tokens * 1e6, "spread": time.spread}
                rate = operations / time.median
                report.add(
                    case, size=size, kv=kv, work="prefill", tokens=tokens, isa=isa, **cells,
                    GOPS=rate / 1e9, of_peak=rate / report.limits.int8_operations_per_second[isa],
                )  # fmt: skip
        for context in arguments.context or [128, 512, 4096, 32768]:
            nbytes = (
                2 * context * shape.kv_heads * (shape.head_dim * KV_WIDTH[kv] + (4 if kv in ("int8", "int4") else 0))
            )
            layers = MEMORY_BYTES // nbytes + 1
            samples = {isa: functools.partial(time_attention, isa, context=context, layers=layers) for isa in isas}
            for isa, time in interleave(samples, arguments.rounds, "s").items():
                cells = {"us_token": time.median * 1e6, "spread": time.spread}
                rate = nbytes / time.median
                report.add(
                    case, size=size, kv=kv, work="decode", tokens=context, isa=isa, **cells,
                    GB_s=rate / 1e9, of_read=rate / read,
                )  # fmt: skip
    return report


if __name__ == "__main__":
    options = operation_parser(__doc__ or "")
    options.add_argument("--size", action="append", choices=list(SIZES), help="default: 0.6B and 4B; may be repeated")
    options.add_argument("--kv", action="append", choices=list(TOLERANCE), help="default: int8; may be repeated")
    options.add_argument(
        "--tokens", action="append", type=positive, help="of prefill (128, 512, 4096); may be repeated"
    )
    options.add_argument("--context", action="append", type=positive, help="of decode (128, 512, 4096, 32768)")
    options.add_argument("--threads", type=positive, help="default: all that this process may use")
    sys.exit(main(bench, options))
