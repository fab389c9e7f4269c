"""RMSNorm, activation rounding, and both in one pass; one thread, a chunk that stays in the L2 cache.

GB/s counts once what is read and written; of_read: its share of one thread's bandwidth from memory, above 1 from cache.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from harness import Report, begin, check_tiers, core, main, operation_parser, time_tiers
from shapes import SIZES

TOKENS = 64
EPS = 1e-6
BLOCK = 256  # of q8 and q4z
NORM_TOLERANCE = 1e-6  # float32 against float64, rms


def bench(arguments: argparse.Namespace) -> Report:
    kernels = core().kernels
    report, isas = begin("RMSNorm and rounding, 1 thread", arguments)
    assert report.limits is not None
    bandwidth = report.limits.read_bytes_per_second[1]
    random = np.random.default_rng(0)
    for size, shape in SIZES.items():
        x = random.standard_normal((TOKENS, shape.hidden)).astype(np.float32)
        weight = random.standard_normal(shape.hidden).astype(np.float32)
        wide = x.astype(np.float64)
        normed = wide / np.sqrt(np.mean(wide * wide, axis=1, keepdims=True) + EPS) * weight

        def rmsnorm(isa: str, x: object = x, weight: object = weight) -> object:
            return kernels.rmsnorm(isa, x, weight, EPS)

        def quantize(isa: str, x: object = x) -> object:
            return kernels.quantize_activations(isa, x, BLOCK)

        def both(isa: str, x: object = x, weight: object = weight) -> object:
            return kernels.rmsnorm_quantize(isa, x, weight, EPS, BLOCK)

        for name, call, value_bytes in (
            ("rmsnorm", rmsnorm, 8),
            ("quantize", quantize, 5),
            ("rmsnorm + quantize", both, 5),
        ):
            case = f"{name} {size}"
            expected = check_tiers(report, case, call, isas)
            if call is rmsnorm:
                report.check(case, expected, normed, NORM_TOLERANCE)
            elif call is both:  # fusing changes nothing
                separate = kernels.quantize_activations("scalar", rmsnorm("scalar"), BLOCK)
                for got, wanted in zip(expected, separate, strict=True):
                    report.check(case, got, wanted)
            for isa, measured in time_tiers(call, isas, arguments).items():
                report.add(
                    case,
                    operation=name,
                    size=size,
                    values=shape.hidden,
                    isa=isa,
                    ns_token=measured.median / TOKENS * 1e9,
                    spread=measured.spread,
                    GB_s=value_bytes * x.size / measured.median / 1e9,
                    of_read=value_bytes * x.size / measured.median / bandwidth,
                )
    return report


if __name__ == "__main__":
    sys.exit(main(bench, operation_parser(__doc__ or "")))
