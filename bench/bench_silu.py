"""silu(gate) * up; one thread, vectors that stay in the L2 cache.

GB/s counts two float32 read and one written; of_read: its share of one thread's bandwidth from memory, above 1 from
cache.
"""

from __future__ import annotations

import argparse
import functools
import sys

import numpy as np
from harness import Report, begin, check_tiers, core, main, operation_parser, time_tiers
from shapes import SIZES

TOKENS = 8
TOLERANCE = 1e-6  # float32 and its own exp against float64, rms


def bench(arguments: argparse.Namespace) -> Report:
    kernels = core().kernels
    report, isas = begin("SiLU times up, 1 thread", arguments)
    assert report.limits is not None
    bandwidth = report.limits.read_bytes_per_second[1]
    random = np.random.default_rng(0)
    for size, shape in SIZES.items():
        gate, up = random.standard_normal((2, TOKENS * shape.feed_forward)).astype(np.float32) * 4
        call = functools.partial(_silu_mul, kernels, gate, up)
        wide = gate.astype(np.float64)
        report.check(size, check_tiers(report, size, call, isas), wide / (1 + np.exp(-wide)) * up, TOLERANCE)
        for isa, measured in time_tiers(call, isas, arguments).items():
            report.add(
                size,
                size=size,
                values=shape.feed_forward,
                isa=isa,
                ns_token=measured.median / TOKENS * 1e9,
                spread=measured.spread,
                GB_s=12 * gate.size / measured.median / 1e9,
                of_read=12 * gate.size / measured.median / bandwidth,
            )
    return report


def _silu_mul(kernels: object, gate: object, up: object, isa: str) -> object:
    return kernels.silu_mul(isa, gate, up)  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main(bench, operation_parser(__doc__ or "")))
