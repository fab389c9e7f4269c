"""Microbenchmarks of the CPU's kernels, each by its name.

    python -m bench.kernels                                                       lists them
    python -m bench.kernels matmul --shape 1024x4096 --format q4z32 --tokens 1    runs one
    python -m bench.kernels matmul --help                                         its options, and its own columns

Columns that all share: spread is (slowest - fastest) / median of the samples, above 0.2 on a machine that others use;
GB_s what is read and written once; of_read its share of what this machine reads from memory, above 1 from cache; GOPS
two operations a multiply-add; of_peak their share of the int8 peak, both measured right before. A wrong result is not
timed.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

from bench import harness
from bench.kernels import attention, delta, experts, matmul, small

Bench = Callable[[argparse.Namespace], harness.Report]
# What runs it, what it says of itself, and what adds its options.
KERNELS: dict[str, tuple[Bench, Bench | ModuleType, Callable[[argparse.ArgumentParser], None]]] = {
    "matmul": (matmul.bench, matmul, matmul.add_options),
    "attention": (attention.bench, attention, attention.add_options),
    "delta": (delta.bench, delta, delta.add_options),
    "norm": (small.norm, small.norm, harness.add_tiers),
    "rope": (small.rope, small.rope, small.add_rope_options),
    "silu": (small.silu, small.silu, harness.add_tiers),
    "sample": (small.sample, small.sample, harness.add_sampling),
    "barrier": (small.barrier, small.barrier, small.add_barrier_options),
    "experts": (experts.bench, experts, experts.add_options),
}


def listing() -> str:
    """A line a kernel: the first that it says of itself."""
    return "\n".join(f"{name:<10} {(inspect.getdoc(text) or '').partition(chr(10))[0]}"
                     for name, (_, text, _) in KERNELS.items())  # fmt: skip


def main(words: Sequence[str]) -> int:
    """Runs the bench that the first word names with those that follow."""
    if not words or words[0] in ("-h", "--help"):
        print(f"{__doc__}\n{listing()}")
        return 0
    name, *rest = words
    if name not in KERNELS:
        print(f"expected one of {', '.join(KERNELS)}, found {name!r}", file=sys.stderr)
        return 2
    bench, text, add_options = KERNELS[name]
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(f"bench.kernels {name}", description=inspect.getdoc(text), formatter_class=form)
    add_options(parser)
    return harness.main(bench, parser, rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
