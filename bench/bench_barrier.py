"""The barrier that threads meet at several times a layer: from one thread to all.

us_layer: of the barriers of one decoded token in one layer; of_token: the share that those of all layers have of
decoding a token of the 0.6B shape, if that reads its weights as fast as this machine can.
"""

from __future__ import annotations

import argparse
import functools
import sys

from harness import (
    Report,
    describe_machine,
    duration,
    interleave,
    main,
    measure_limits,
    positive,
    timer,
    usable_threads,
)
from shapes import SIZES

LAYERS = 28  # of 0.6B
STEPS = 10  # of a layer that end with a barrier (csrc/core/engine.cpp)
BITS = 4.5  # a weight, as in the smallest int4 formats
LARGEST = 1e-3  # seconds; more is no barrier but a thread that got no core


def bench(arguments: argparse.Namespace) -> Report:
    threads = usable_threads(arguments.threads)
    limits = measure_limits(threads=threads, isas=[])
    report = Report("Barrier of the thread pool", describe_machine(), limits)
    shape = SIZES["0.6B"]
    head = shape.vocabulary * shape.hidden
    matrices = shape.matrices()
    per_layer = sum(
        rows * columns * (2 if "," in name else 1) for name, (rows, columns) in matrices.items() if name != "head"
    )
    nbytes = (LAYERS * per_layer + head) * BITS / 8
    for count in range(1, threads + 1):
        case = f"{count} threads"
        time = functools.partial(timer("time_barrier"), count, arguments.seconds)
        measured = interleave({case: time}, arguments.rounds, "s")[case]
        passed = 0 < measured.median < LARGEST
        report.accept(
            case, passed, f"expected a barrier below {LARGEST * 1e6:.0f} us, found {measured.median * 1e6:.1f}"
        )
        layer = measured.median * STEPS
        token = nbytes / limits.read_bytes_per_second[count]
        report.add(
            case,
            threads=count,
            us=measured.median * 1e6,
            spread=measured.spread,
            us_layer=layer * 1e6,
            of_token=layer * LAYERS / token,
        )
    return report


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--threads", type=positive, help="the most (default: all that this process may use)")
    options.add_argument("--rounds", type=positive, default=3)
    options.add_argument("--seconds", type=duration, default=0.1, help="of one sample")
    sys.exit(main(bench, options))
