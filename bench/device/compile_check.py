"""Compiles what the models launch for this device, in as many processes as there are cores, and reads the code."""

from __future__ import annotations

import torch

from bench.device.context import Context
from bench.gpu.static_rows import faults, static_rows
from qwen3edge.kernels.configuration import target_of
from qwen3edge.kernels.specialization import TARGETS


def run(context: Context) -> None:
    """The static gate for this device alone."""
    if context.interpreted:
        context.result("compiled", note="left out: the interpreter compiles nothing")
        return
    target = target_of(torch.device("cuda", 0))
    if target not in TARGETS:
        context.result("compiled", note=f"left out: nothing is known of {target}, which takes the default tiles")
        return
    rows = {row["compilation"]: row for row in static_rows(context.models, [target])}
    bad = [f"{row['kernel']}: {fault}" for row in rows.values() for fault in faults(row)]
    context.result("compiled", not bad, len(rows), f"kernels for {target}", faults=bad)
