"""QK-norm, RoPE and KV write of one token in one layer; one thread, everything in cache.

GB/s counts the float32 projections read, the query and the cache's entry written; of_read is its
share of one thread's bandwidth from memory, above 1 from cache. The result is compared on its way
through attention, as bench_attention.py does.
"""

from __future__ import annotations

import argparse
import functools
import sys

from bench_attention import KV_WIDTH, check
from harness import Report, begin, interleave, main, operation_parser, timer
from shapes import SIZES


def bench(arguments: argparse.Namespace) -> Report:
    report, isas = begin("QK-norm, RoPE and KV write, 1 thread", arguments)
    assert report.limits is not None
    bandwidth = report.limits.read_bytes_per_second[1]
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
                report.add(
                    case,
                    size=size,
                    kv=kv,
                    isa=isa,
                    us_token=measured.median * 1e6,
                    spread=measured.spread,
                    GB_s=(read + written) / measured.median / 1e9,
                    of_read=(read + written) / measured.median / bandwidth,
                )
    return report


if __name__ == "__main__":
    options = operation_parser(__doc__ or "")
    options.add_argument("--size", action="append", choices=list(SIZES), help="default: 0.6B and 4B; may be repeated")
    options.add_argument("--kv", action="append", choices=list(KV_WIDTH), help="default: all; may be repeated")
    sys.exit(main(bench, options))
