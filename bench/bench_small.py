"""The small operations, each by its name: norm, rope, silu, sample or barrier.

GB/s counts once what is read and written; of_read: its share of one thread's bandwidth from memory, above 1 from cache.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from bench_attention import KV_WIDTH, check
from harness import (
    Cell,
    Measured,
    Report,
    begin,
    check_tiers,
    core,
    describe_machine,
    duration,
    interleave,
    main,
    measure_limits,
    operation_parser,
    positive,
    seconds_per_call,
    time_tiers,
    timer,
    usable_threads,
)
from shapes import SIZES

NORM_TOKENS, SILU_TOKENS = 64, 8  # activations that stay in the L2 cache
EPS = 1e-6
BLOCK = 256  # of q8 and q4z
TOLERANCE = 1e-6  # float32, and its own exp, against float64, rms
# Qwen3's own recommendations for its two modes, and the cheapest setting.
SETTINGS: dict[str, dict[str, float]] = {
    "greedy": {"temperature": 0.0},
    "direct (0.7, top-k 20, top-p 0.8)": {"temperature": 0.7, "top_k": 20, "top_p": 0.8},
    "thinking (0.6, top-k 20, top-p 0.95)": {"temperature": 0.6, "top_k": 20, "top_p": 0.95},
    "top-p 0.95 alone": {"temperature": 1.0, "top_k": 0, "top_p": 0.95},
}
DRAWS = 400
LAYERS = 28  # of 0.6B
STEPS = 10  # of a layer that end with a barrier (csrc/models, csrc/exec/steps.cpp)
BITS = 4.5  # a weight, as in the smallest int4 formats
LARGEST = 1e-3  # seconds; more is no barrier but a thread that got no core


def share(report: Report, measured: Measured, nbytes: int) -> dict[str, Cell]:
    """The columns that all but the barrier end with. nbytes: read and written by what was measured."""
    assert report.limits is not None
    speed = nbytes / measured.median
    return {
        "spread": measured.spread,
        "GB_s": speed / 1e9,
        "of_read": speed / report.limits.read_bytes_per_second[1],
    }


def norm(arguments: argparse.Namespace) -> Report:
    """RMSNorm, activation rounding, and both in one pass; one thread, a chunk that stays in the L2 cache."""
    kernels = core().kernels
    report, isas = begin("RMSNorm and rounding, 1 thread", arguments)
    random = np.random.default_rng(0)
    for size, shape in SIZES.items():
        x = random.standard_normal((NORM_TOKENS, shape.hidden)).astype(np.float32)
        weight = random.standard_normal(shape.hidden).astype(np.float32)
        wide = x.astype(np.float64)
        normed = wide / np.sqrt(np.mean(wide * wide, axis=1, keepdims=True) + EPS) * weight
        calls: dict[str, tuple[int, Callable[[str], Any]]] = {  # bytes a value, call
            "rmsnorm": (8, lambda isa, x=x, weight=weight: kernels.rmsnorm(isa, x, weight, EPS)),
            "quantize": (5, lambda isa, x=x: kernels.quantize_activations(isa, x, BLOCK)),
            "rmsnorm + quantize": (
                5,
                lambda isa, x=x, weight=weight: kernels.rmsnorm_quantize(isa, x, weight, EPS, BLOCK),
            ),
        }
        for name, (value_bytes, call) in calls.items():
            case = f"{name} {size}"
            expected = check_tiers(report, case, call, isas)
            if name == "rmsnorm":
                report.check(case, expected, normed, TOLERANCE)
            elif name == "rmsnorm + quantize":  # fusing changes nothing
                separate = kernels.quantize_activations("scalar", calls["rmsnorm"][1]("scalar"), BLOCK)
                for got, wanted in zip(expected, separate, strict=True):
                    report.check(case, got, wanted)
            for isa, measured in time_tiers(call, isas, arguments).items():
                took = {
                    "ns_token": measured.median / NORM_TOKENS * 1e9,
                    **share(report, measured, value_bytes * x.size),
                }
                report.add(case, operation=name, size=size, values=shape.hidden, isa=isa, **took)
    return report


def rope(arguments: argparse.Namespace) -> Report:
    """QK-norm, RoPE and KV write of one token in one layer; one thread, everything in cache.

    GB/s counts the float32 projections read, the query and the cache's entry written. The result is compared on its way
    through attention, as bench_attention.py does.
    """
    report, isas = begin("QK-norm, RoPE and KV write, 1 thread", arguments)
    for size in arguments.size or ["0.6B", "4B"]:
        shape = SIZES[size]
        for kv in arguments.kv or list(KV_WIDTH):
            case = check(report, size, kv, isas)
            time = functools.partial(
                timer("time_qk_norm_rope"), kv=kv, heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim,
                seconds=arguments.seconds,
            )  # fmt: skip
            read = 4 * (shape.heads + 2 * shape.kv_heads) * shape.head_dim
            query = (1 if kv in ("int8", "int4") else 4) * shape.heads * shape.head_dim
            written = query + 2 * KV_WIDTH[kv] * shape.kv_heads * shape.head_dim
            samples = {isa: functools.partial(time, isa) for isa in isas}
            for isa, measured in interleave(samples, arguments.rounds, "s").items():
                took = {"us_token": measured.median * 1e6, **share(report, measured, read + written)}
                report.add(case, size=size, kv=kv, isa=isa, **took)
    return report


def silu(arguments: argparse.Namespace) -> Report:
    """silu(gate) * up; one thread, vectors that stay in the L2 cache."""
    kernels = core().kernels
    report, isas = begin("SiLU times up, 1 thread", arguments)
    random = np.random.default_rng(0)
    for size, shape in SIZES.items():
        gate, up = random.standard_normal((2, SILU_TOKENS * shape.feed_forward)).astype(np.float32) * 4
        wide = gate.astype(np.float64)

        def call(isa: str, gate: object = gate, up: object = up) -> object:
            return kernels.silu_mul(isa, gate, up)

        report.check(size, check_tiers(report, size, call, isas), wide / (1 + np.exp(-wide)) * up, TOLERANCE)
        for isa, measured in time_tiers(call, isas, arguments).items():
            took = {"ns_token": measured.median / SILU_TOKENS * 1e9, **share(report, measured, 12 * gate.size)}
            report.add(size, size=size, values=shape.feed_forward, isa=isa, **took)
    return report


def check_draws(report: Report, name: str, setting: dict[str, float], logits: np.ndarray) -> None:
    """Greedy takes the largest logit; drawn tokens lie among those that the setting keeps; a seed repeats them."""
    first, second = (core().Sampler(vocabulary=len(logits), seed=7, **setting) for _ in range(2))
    tokens = [first.sample(logits) for _ in range(DRAWS)]
    if setting["temperature"] == 0.0:
        kept = {int(np.argmax(logits))}
    else:
        order = np.argsort(-logits, kind="stable")[: int(setting["top_k"]) or None]
        weights = np.exp((logits[order].astype(np.float64) - logits[order[0]]) / setting["temperature"])
        below = np.cumsum(weights / weights.sum()) - weights / weights.sum()
        kept = {int(token) for token in order[below < setting["top_p"] + 1e-6]}
    report.accept(
        name, set(tokens) <= kept, f"a token that the setting excludes was drawn: {sorted(set(tokens) - kept)}"
    )
    again = [second.sample(logits) for _ in range(DRAWS)]
    report.accept(name, again == tokens, "the same seed drew other tokens")


def sample(arguments: argparse.Namespace) -> Report:
    """Picking a token from Qwen3's 151,936 logits; one thread, logits that stay in cache.

    GB/s counts the logits once. The peer is NumPy: one pass that finds the largest logit. Sampling has no tiers.
    """
    vocabulary = SIZES["0.6B"].vocabulary
    logits = np.random.default_rng(0).standard_normal(vocabulary).astype(np.float32) * 3
    report = Report("Sampling, 1 thread", describe_machine(), measure_limits(threads=1, isas=[]))
    calls = {}
    for name, setting in SETTINGS.items():
        check_draws(report, name, setting, logits)
        calls[name] = functools.partial(core().Sampler(vocabulary=vocabulary, seed=1, **setting).sample, logits)
    report.accept("NumPy argmax", True, "")
    calls["NumPy argmax"] = functools.partial(np.argmax, logits)
    candidates = {name: functools.partial(seconds_per_call, call, arguments.seconds) for name, call in calls.items()}
    for name, measured in interleave(candidates, arguments.rounds, "s").items():
        report.add(name, work=name, us=measured.median * 1e6, **share(report, measured, logits.nbytes))
    return report


def barrier(arguments: argparse.Namespace) -> Report:
    """The barrier that threads meet at several times a layer: from one thread to all.

    us_layer: of the barriers of one decoded token in one layer; of_token: the share that those of all layers have of
    decoding a token of the 0.6B shape, if that reads its weights as fast as this machine can.
    """
    threads = usable_threads(arguments.threads)
    limits = measure_limits(threads=threads, isas=[])
    report = Report("Barrier of the thread pool", describe_machine(), limits)
    shape = SIZES["0.6B"]
    per_layer = sum(
        rows * columns * (2 if "," in name else 1)
        for name, (rows, columns) in shape.matrices().items()
        if name != "head"
    )
    nbytes = (LAYERS * per_layer + shape.vocabulary * shape.hidden) * BITS / 8
    for count in range(1, threads + 1):
        case = f"{count} threads"
        time = functools.partial(timer("time_barrier"), count, arguments.seconds)
        measured = interleave({case: time}, arguments.rounds, "s")[case]
        us, layer = measured.median * 1e6, measured.median * STEPS
        passed = 0 < measured.median < LARGEST
        report.accept(case, passed, f"expected a barrier below {LARGEST * 1e6:.0f} us, found {us:.1f}")
        of_token = layer * LAYERS * limits.read_bytes_per_second[count] / nbytes
        report.add(case, threads=count, us=us, spread=measured.spread, us_layer=layer * 1e6, of_token=of_token)
    return report


OPERATIONS = {bench.__name__: bench for bench in (norm, rope, silu, sample, barrier)}


def parser_of(name: str) -> argparse.ArgumentParser:
    """The options of an operation."""
    text = f"{inspect.getdoc(OPERATIONS[name])}\n\n{(__doc__ or '').partition(chr(10))[2].strip()}"
    if name in ("sample", "barrier"):  # which have no tiers
        options = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
        options.add_argument("--rounds", type=positive, default=3)
        options.add_argument("--seconds", type=duration, default=0.1, help="of one sample")
    else:
        options = operation_parser(text)
    if name == "rope":
        options.add_argument("--size", action="append", choices=list(SIZES), help="default: 0.6B and 4B; repeatable")
        options.add_argument("--kv", action="append", choices=list(KV_WIDTH), help="default: all; may be repeated")
    if name == "barrier":
        options.add_argument("--threads", type=positive, help="the most (default: all that this process may use)")
    options.prog = f"bench_small.py {name}"
    return options


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in OPERATIONS:
        print(f"bench_small.py: expected one of {', '.join(OPERATIONS)} first", file=sys.stderr)
        sys.exit(2)
    operation = sys.argv.pop(1)
    sys.exit(main(OPERATIONS[operation], parser_of(operation)))
