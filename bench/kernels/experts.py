"""Experts above the memory: how many are in a slot when a token chooses them, and how fast the others are read.

    python -m bench.kernels experts --model 30b-a3b.q3e

The engine's expert slots replay traces with the locality of Qwen3-30B-A3B (tests/reference/expert_traces.py). Nothing
is computed, so that reads are all that takes time; tok_s is what the disk then allows. The slots hold what tokens
before the measured ones left in them. waiting: the share of the time in which reads were waited for; of_disk: of the
bandwidth of large direct reads of the same file, in turns of a tenth of a second with the replay. The next layer waits
for what a layer misses: with few misses, the disk's latency shows. known_hits are rates reported for LRU.
"""

from __future__ import annotations

import argparse

from bench.harness import Report, core, describe_machine, duration, existing, positive
from tests.reference.expert_traces import make_trace

KNOWN = {8: 0.37, 24: 0.74, 49: 0.89, 81: 0.96}
"""LRU hits by experts kept of each layer's 128."""


def bench(arguments: argparse.Namespace) -> Report:
    """A row for each number of experts kept of a layer."""
    file = core().ModelFile(str(arguments.model))
    keys = ("block_count", "expert_count", "expert_used_count")
    layers, experts, top = (file.get(f"qwen3edge.{key}") for key in keys)
    report = Report(f"Experts in slots, {experts} of a layer, {top} a token", describe_machine())
    trace = make_trace(layers, experts, top, arguments.warm + arguments.tokens, arguments.seed)
    expert_bytes = core().plan(file, context=1, threads=1)["expert_bytes"]
    for kept in arguments.kept:
        slots = max(kept * layers, 2 * top)
        result = core().kernels.replay_experts(file, slots, trace, arguments.warm, arguments.seconds)
        tokens, chosen, seconds = result["tokens"], result["hits"] + result["misses"], result["seconds"]
        report.accept("hits", chosen == tokens * layers * top, f"{chosen} choices of {tokens} tokens were counted")
        report.add(
            "hits", kept=kept, slots=slots, GB=slots * expert_bytes / 1e9, hits=result["hits"] / chosen,
            known_hits=KNOWN.get(kept) if (experts, top) == (128, 8) else None,
            misses_layer=result["misses"] / tokens / layers, MB_token=result["bytes_read"] / tokens / 1e6,
            tok_s=tokens / seconds, waiting=result["wait_seconds"] / seconds,
            of_disk=result["bytes_read"] / seconds / result["disk"],
        )  # fmt: skip
    return report


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=existing, required=True, help="a .q3e file of a mixture of experts")
    parser.add_argument("--kept", type=positive, nargs="+", default=list(KNOWN), help="experts of a layer (8 24 49 81)")
    parser.add_argument("--tokens", type=positive, default=500, help="decoded and measured at most (500)")
    parser.add_argument("--warm", type=positive, default=300, help="decoded before (300)")
    parser.add_argument("--seconds", type=duration, default=3.0, help="of replay a row, and of the disk beside it")
    parser.add_argument("--seed", type=int, default=0)
