"""Picking a token from Qwen3's 151,936 logits; one thread, logits that stay in cache.

GB/s counts the logits once; of_read: its share of the bandwidth from memory, above 1 for what runs from cache. The peer
is NumPy: one pass that finds the largest logit. Sampling has no tiers.
"""

from __future__ import annotations

import argparse
import functools
import sys

import numpy as np
from harness import (
    Report,
    core,
    describe_machine,
    duration,
    interleave,
    main,
    measure_limits,
    positive,
    seconds_per_call,
)
from shapes import SIZES

VOCABULARY = SIZES["0.6B"].vocabulary
# Qwen3's own recommendations for its two modes, and the cheapest setting.
SETTINGS: dict[str, dict[str, float]] = {
    "greedy": {"temperature": 0.0},
    "direct (0.7, top-k 20, top-p 0.8)": {"temperature": 0.7, "top_k": 20, "top_p": 0.8},
    "thinking (0.6, top-k 20, top-p 0.95)": {"temperature": 0.6, "top_k": 20, "top_p": 0.95},
    "top-p 0.95 alone": {"temperature": 1.0, "top_k": 0, "top_p": 0.95},
}
DRAWS = 400


def check(report: Report, name: str, setting: dict[str, float], logits: np.ndarray) -> None:
    """Greedy takes the largest logit; drawn tokens lie among those that the setting keeps; a seed repeats them."""
    first, second = (core().Sampler(vocabulary=VOCABULARY, seed=7, **setting) for _ in range(2))
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


def bench(arguments: argparse.Namespace) -> Report:
    native = core()
    logits = np.random.default_rng(0).standard_normal(VOCABULARY).astype(np.float32) * 3
    report = Report("Sampling, 1 thread", describe_machine(), measure_limits(threads=1, isas=[]))
    assert report.limits is not None
    read = report.limits.read_bytes_per_second[1]
    calls = {}
    for name, setting in SETTINGS.items():
        check(report, name, setting, logits)
        calls[name] = functools.partial(native.Sampler(vocabulary=VOCABULARY, seed=1, **setting).sample, logits)
    report.accept("NumPy argmax", True, "")
    calls["NumPy argmax"] = functools.partial(np.argmax, logits)
    candidates = {name: functools.partial(seconds_per_call, call, arguments.seconds) for name, call in calls.items()}
    for name, measured in interleave(candidates, arguments.rounds, "s").items():
        report.add(
            name,
            work=name,
            us=measured.median * 1e6,
            spread=measured.spread,
            GB_s=logits.nbytes / measured.median / 1e9,
            of_read=logits.nbytes / measured.median / read,
        )
    return report


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=positive, default=3)
    options.add_argument("--seconds", type=duration, default=0.1, help="of one sample")
    sys.exit(main(bench, options))
