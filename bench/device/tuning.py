"""Tiles of the products measured on this device, a few candidates, until the time is over; bench/tune.py takes all."""

from __future__ import annotations

import itertools

import torch
import triton

from bench import tune
from bench.device.context import Context
from qwen3edge.kernels.configuration import configuration

CANDIDATES = 24  # of each number of tokens, evenly of all that bench/tune.py has
GAIN = 0.97  # of the time of the entry that is there: less is chance


def run(context: Context) -> None:
    """Writes OUT/<target>.json where an entry is better."""
    if context.interpreted:
        device = tune.Device(context.place)
        matrix = tune.MatrixShape("any", 32, 256, "q4z64", (1,))
        triton.testing.do_bench = lambda run: run() or 0.001
        entry = {"BLOCK_M": 16, "BLOCK_N": 16, "SWAPPED": 1, "num_warps": 1, "num_stages": 2, "programs": 64}
        taken = device.measure("matmul_a16", matrix, 1, entry)
        context.result("a candidate", taken < float("inf"), taken, "us")
        return
    device = tune.Device(torch.device("cuda", 0))
    entries = {}
    for op in tune.OPS:
        chosen = []
        for most, tokens in tune.BATCHES:
            matrices = tune.products("0.6B", "int4" if op == "matmul_a16" else "int8")
            there = dict(configuration(op, device.target, tokens))

            def time_of(entry, op=op, tokens=tokens, matrices=matrices):
                return sum(share * device.measure(op, m, tokens, entry) for m, share in matrices.items()
                           if tokens <= max(m.tokens))  # fmt: skip

            best, least = there, time_of(there)
            before = least
            all_of_them = list(tune.candidates(tokens, device.target.startswith("gfx")))
            step = max(len(all_of_them) // CANDIDATES, 1)
            for entry in itertools.islice(all_of_them, 0, None, step):
                if context.left() < 10:
                    break
                taken = time_of(entry)
                if taken < GAIN * least:
                    best, least = entry, taken
            name = f"{op}, up to {most or 'any number of'} tokens"
            context.result(name, None, least, "us a layer", before=before, entry=best)
            chosen.append(({} if most is None else {"max_rows": most}) | best)
        entries[op] = chosen
    tune.write(context.out / f"{device.target}.json", entries)
