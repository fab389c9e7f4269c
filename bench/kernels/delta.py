"""One layer's gated delta rule: what tokens do to the states of its heads, and what these answer.

`decode`: one token, on all threads, through so many layers that the states come from memory; GB/s counts each state
read and written once. `prefill`: many tokens of one sequence, whose states stay in the caches of the cores that work on
them. GOPS counts four multiply-adds for each token and number of a state, of_peak the int8 peak: a float32 kernel
cannot come near it.
"""

from __future__ import annotations

import argparse
import functools
from typing import Any

import numpy as np

from bench.harness import Report, add_tiers, begin, check_tiers, core, positive, usable_threads
from bench.shapes import HYBRIDS

CHECK_TOKENS = 5
MEMORY_BYTES = 512 << 20


def check(report: Report, size: str, isas: list[str]) -> str:
    """Equal on all tiers. Returns the case."""
    head = HYBRIDS[size].delta_head_size
    random = np.random.default_rng(CHECK_TOKENS)
    q, k, v = random.standard_normal((3, CHECK_TOKENS, head)).astype(np.float32) / np.float32(head**0.5)
    decay, write = random.random((2, CHECK_TOKENS)).astype(np.float32)
    state = np.zeros((head // 16, head, 16), np.float32)

    def rule(isa: str) -> Any:
        return np.concatenate(
            [part.reshape(-1) for part in core().kernels.delta_rule(isa, state, q, k, v, decay, write)]
        )

    check_tiers(report, size, rule, isas)
    return size


def bench(arguments: argparse.Namespace) -> Report:
    threads = usable_threads(arguments.threads)
    report, isas = begin(f"Gated delta rule on {threads} threads", arguments, threads)
    for size in arguments.size or ["3.5-0.8B", "3.5-4B"]:
        shape, case = HYBRIDS[size], check(report, size, isas)
        numbers = shape.delta_value_heads * shape.delta_head_size**2
        time = functools.partial(
            core().kernels.time_delta_rule, key_heads=shape.delta_key_heads, heads=shape.delta_value_heads,
            size=shape.delta_head_size, threads=threads, seconds=arguments.seconds,
        )  # fmt: skip
        report.time_tiers(
            case, functools.partial(time, tokens=1, layers=MEMORY_BYTES // (4 * numbers) + 1), isas, arguments.rounds,
            column="us_token", factor=1e6, nbytes=8 * numbers, size=size, work="decode", tokens=1,
        )  # fmt: skip
        for tokens in arguments.tokens or [64, 256]:
            report.time_tiers(
                case, functools.partial(time, tokens=tokens, layers=1), isas, arguments.rounds,
                column="us_token", factor=1e6 / tokens, operations=8 * numbers * tokens,
                size=size, work="prefill", tokens=tokens,
            )  # fmt: skip
    return report


def add_options(parser: argparse.ArgumentParser) -> None:
    add_tiers(parser)
    parser.add_argument("--size", action="append", choices=list(HYBRIDS), help="default: 0.8B and 4B; may be repeated")
    parser.add_argument("--tokens", action="append", type=positive, help="of a prompt (64, 256); may be repeated")
    parser.add_argument("--threads", type=positive, help="default: all that this process may use")
