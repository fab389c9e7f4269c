"""One layer's path from projections to attention output: QK-norm, RoPE, KV write, softmax(q k^T) v.

`prefill`: attention alone of a whole sequence. GOPS counts the two products, causal half only; an int8 cache can reach
two thirds of the peak at most, as its second product takes two dot products (docs/kernels.md).
`decode`: attention alone for one token after `tokens` positions, on all threads, through so many layers that the KV
cache comes from memory; GB/s counts its keys, values and scales once.
"""

from __future__ import annotations

import argparse
import functools
import itertools
from typing import Any

import numpy as np

from bench.harness import Report, add_tiers, begin, check_tiers, core, positive, usable_threads
from bench.shapes import SIZES
from qwen3edge.config import ModelConfig

CHECK_TOKENS = 150  # two blocks of the cache and a part
TASK_ROWS = 48  # tokens times query heads a KV head of one task
MEMORY_BYTES = 512 << 20
KV_WIDTH = {"f32": 4, "bf16": 2, "int8": 1, "int4": 0.5}  # bytes a value


def vector_bytes(shape: ModelConfig, kv: str) -> float:
    """Of a key and a value of a head in the cache, their mean, scales included: one for each; keys in int4 have a scale
    and a middle by channel and page instead.
    """
    scales = {"int8": 4, "int4": (4 + 8 * shape.head_size / 64) / 2}
    return shape.head_size * KV_WIDTH[kv] + scales.get(kv, 0)


def check(report: Report, size: str, kv: str, isas: list[str]) -> str:
    """Equal on all tiers, and the same for any size of task. Returns the case."""
    shape, case = SIZES[size], f"{size} {kv}"
    random, heads = np.random.default_rng(CHECK_TOKENS), shape.heads + 2 * shape.kv_heads
    qkv = random.standard_normal((CHECK_TOKENS, heads, shape.head_size)).astype(np.float32)
    angles = (shape.rope_theta ** (-np.arange(0, shape.head_size, 2) / shape.head_size)).astype(np.float32)
    ones = np.ones(shape.head_size, np.float32)

    def attention(isa: str, tile: int) -> Any:
        return core().kernels.attention(
            isa, kv, qkv, shape.heads, shape.kv_heads, angles, ones, ones, eps=shape.rms_epsilon, tile=tile
        )

    several = TASK_ROWS // (shape.heads // shape.kv_heads)
    expected = check_tiers(report, case, functools.partial(attention, tile=several), isas)
    report.check(case, check_tiers(report, case, functools.partial(attention, tile=1), isas), expected)
    return case


def bench(arguments: argparse.Namespace) -> Report:
    threads = usable_threads(arguments.threads)
    report, isas = begin(f"Attention on {threads} threads", arguments, threads)
    for size, kv in itertools.product(arguments.size or ["0.6B", "4B"], arguments.kv or ["int8"]):
        shape, case = SIZES[size], check(report, size, kv, isas)
        time = functools.partial(
            core().kernels.time_attention, kv=kv, heads=shape.heads, kv_heads=shape.kv_heads,
            head_dim=shape.head_size, threads=threads, seconds=arguments.seconds,
        )  # fmt: skip
        for tokens in arguments.tokens or [128, 512, 4096]:
            report.time_tiers(
                case, functools.partial(time, context=tokens, tokens=tokens, layers=1), isas, arguments.rounds,
                column="us_token", factor=1e6 / tokens,
                operations=4 * shape.heads * shape.head_size * tokens * (tokens + 1) / 2,
                size=size, kv=kv, work="prefill", tokens=tokens,
            )  # fmt: skip
        for context in arguments.context or [128, 512, 4096, 32768]:
            nbytes = 2 * context * shape.kv_heads * vector_bytes(shape, kv)
            layers = int(MEMORY_BYTES // nbytes) + 1
            report.time_tiers(
                case, functools.partial(time, context=context, layers=layers), isas, arguments.rounds,
                column="us_token", factor=1e6, nbytes=nbytes, size=size, kv=kv, work="decode", tokens=context,
            )  # fmt: skip
    return report


def add_options(parser: argparse.ArgumentParser) -> None:
    add_tiers(parser)
    parser.add_argument("--size", action="append", choices=list(SIZES), help="default: 0.6B and 4B; may be repeated")
    parser.add_argument("--kv", action="append", choices=list(KV_WIDTH), help="default: int8; may be repeated")
    parser.add_argument("--tokens", action="append", type=positive, help="of prefill (128, 512, 4096); repeatable")
    parser.add_argument("--context", action="append", type=positive, help="of decode (128, 512, 4096, 32768)")
    parser.add_argument("--threads", type=positive, help="default: all that this process may use")
