"""The small operations: norm, rope, silu, sample and barrier."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from bench import harness
from bench.harness import Report, core
from bench.kernels.attention import KV_WIDTH, check, vector_bytes
from bench.shapes import SIZES
from bench.tables import Cell

NORM_TOKENS, SILU_TOKENS = 64, 8  # activations that stay in the L2 cache
BLOCK = 256  # of q8 and q4z
EPS = 1e-6
# Qwen3's own recommendations for its two modes, and the cheapest setting.
SETTINGS: dict[str, dict[str, float]] = {
    "greedy": {"temperature": 0.0},
    "direct (0.7, top-k 20, top-p 0.8)": {"temperature": 0.7, "top_k": 20, "top_p": 0.8},
    "thinking (0.6, top-k 20, top-p 0.95)": {"temperature": 0.6, "top_k": 20, "top_p": 0.95},
    "top-p 0.95 alone": {"temperature": 1.0, "top_k": 0, "top_p": 0.95},
}
DRAWS = 400
LARGEST = 1000  # us; more is no barrier but a thread that got no core


Call = Callable[[str], Any]  # on a tier


def time_cached(
    title: str, calls: Iterable[tuple[dict[str, Cell], int, int, Call]], arguments: argparse.Namespace
) -> Report:
    """A row for each call and tier, when all tiers agree. calls: cells, tokens, bytes read and written, the call."""
    report, isas = harness.begin(title, arguments)
    for cells, tokens, nbytes, call in calls:
        case = " ".join(map(str, cells.values()))
        harness.check_tiers(report, case, call, isas)

        def time(isa: str, call: Call = call) -> float:
            return harness.seconds_per_call(functools.partial(call, isa), arguments.seconds)

        report.time_tiers(
            case, time, isas, arguments.rounds, column="ns_token", factor=1e9 / tokens, nbytes=nbytes, **cells
        )
    return report


def norm(arguments: argparse.Namespace) -> Report:
    """RMSNorm, activation rounding, and both in one pass; one thread, a chunk that stays in the L2 cache."""
    kernels, random, calls = core().kernels, np.random.default_rng(0), []
    for size, shape in SIZES.items():
        x = random.standard_normal((NORM_TOKENS, shape.hidden_size)).astype(np.float32)
        normed = {"x": x, "weight": random.standard_normal(shape.hidden_size).astype(np.float32), "eps": EPS}
        rounded = {"block": BLOCK}
        for name, value_bytes, call in (
            ("rmsnorm", 8, functools.partial(kernels.rmsnorm, **normed)),
            ("quantize", 5, functools.partial(kernels.quantize_activations, x=x, **rounded)),
            ("rmsnorm + quantize", 5, functools.partial(kernels.rmsnorm_quantize, **normed, **rounded)),
        ):
            cells = {"operation": name, "size": size, "values": shape.hidden_size}
            calls.append((cells, NORM_TOKENS, value_bytes * x.size, call))
    return time_cached("RMSNorm and rounding, 1 thread", calls, arguments)


def silu(arguments: argparse.Namespace) -> Report:
    """silu(gate) * up; one thread, vectors that stay in the L2 cache."""
    random, calls = np.random.default_rng(0), []
    for size, shape in SIZES.items():
        gate, up = random.standard_normal((2, SILU_TOKENS * shape.ffn_size)).astype(np.float32) * 4
        call = functools.partial(core().kernels.silu_mul, gate=gate, up=up)
        calls.append(({"size": size, "values": shape.ffn_size}, SILU_TOKENS, 12 * gate.size, call))
    return time_cached("SiLU times up, 1 thread", calls, arguments)


def rope(arguments: argparse.Namespace) -> Report:
    """QK-norm, RoPE and KV write of one token in one layer; one thread, everything in cache.

    GB/s counts the float32 projections read, the query and the cache's entry written. The result is compared on its way
    through attention.
    """
    report, isas = harness.begin("QK-norm, RoPE and KV write, 1 thread", arguments)
    for size in arguments.size or ["0.6B", "4B"]:
        shape = SIZES[size]
        for kv in arguments.kv or list(KV_WIDTH):
            case = check(report, size, kv, isas)
            time = functools.partial(
                core().kernels.time_qk_norm_rope, kv=kv, heads=shape.heads, kv_heads=shape.kv_heads,
                head_dim=shape.head_size, seconds=arguments.seconds,
            )  # fmt: skip
            read = 4 * (shape.heads + 2 * shape.kv_heads) * shape.head_size
            query = (1 if kv == "int8" else 4) * shape.heads * shape.head_size
            nbytes = read + query + 2 * shape.kv_heads * vector_bytes(shape, kv)
            report.time_tiers(
                case, time, isas, arguments.rounds, column="us_token", factor=1e6, nbytes=nbytes, size=size, kv=kv
            )
    return report


def add_rope_options(parser: argparse.ArgumentParser) -> None:
    harness.add_tiers(parser)
    parser.add_argument("--size", action="append", choices=list(SIZES), help="default: 0.6B and 4B; may be repeated")
    parser.add_argument("--kv", action="append", choices=list(KV_WIDTH), help="default: all; may be repeated")


def sample(arguments: argparse.Namespace) -> Report:
    """Picking a token from Qwen3's 151,936 logits; one thread, logits that stay in cache.

    GB/s counts the logits once. The peer is NumPy: one pass that finds the largest logit. Sampling has no tiers.
    """
    vocabulary = SIZES["0.6B"].vocab_size
    logits = np.random.default_rng(0).standard_normal(vocabulary).astype(np.float32) * 3
    report = Report("Sampling, 1 thread", harness.describe_machine(), harness.measure_limits(threads=1, isas=[]))
    calls: dict[str, Callable[[], object]] = {"NumPy argmax": functools.partial(np.argmax, logits)}
    report.accept("NumPy argmax", True, "")
    for name, setting in SETTINGS.items():
        first, second = (core().Sampler(vocabulary=vocabulary, seed=1, **setting) for _ in range(2))
        alike = all(first.sample(logits, index=i) == second.sample(logits, index=i) for i in range(DRAWS))
        report.accept(name, alike, "the same seed drew other tokens")
        calls[name] = functools.partial(first.sample, logits)
    timed = functools.partial(harness.seconds_per_call, seconds=arguments.seconds)
    candidates = {name: functools.partial(timed, call) for name, call in calls.items()}
    for name, took in harness.interleave(candidates, arguments.rounds).items():
        report.add_timed(name, took, nbytes=logits.nbytes, work=name, us=took.median * 1e6)
    return report


def barrier(arguments: argparse.Namespace) -> Report:
    """The barrier that threads meet at some ten times a layer: from one thread to all."""
    threads = harness.usable_threads(arguments.threads)
    limits = harness.measure_limits(threads=threads, isas=[])
    report = Report("Barrier of the thread pool", harness.describe_machine(), limits)
    for count in range(1, threads + 1):
        case = f"{count} threads"
        time = functools.partial(core().kernels.time_barrier, count, arguments.seconds)
        took = harness.interleave({case: time}, arguments.rounds)[case]
        us = took.median * 1e6
        report.accept(case, 0 < us < LARGEST, f"expected a barrier below {LARGEST:.0f} us, found {us:.1f}")
        report.add_timed(case, took, threads=count, us=us)
    return report


def add_barrier_options(parser: argparse.ArgumentParser) -> None:
    harness.add_sampling(parser)
    parser.add_argument("--threads", type=harness.positive, help="the most (default: all that this process may use)")
