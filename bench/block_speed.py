"""Speed of a matrix product in each block format beside q4g32's."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from bench_matmul import check
from harness import Cell, Report, core, interleave, timer
from shapes import SIZES

PEER = "q4g32"
DECODE, PREFILL = 1, 256  # tokens
ROUNDS, SECONDS = 5, 0.2
MEMORY_BYTES, CACHE_BYTES = 256 << 20, 1


def measure_speed(formats: Sequence[str], threads: int) -> list[dict[str, Cell]]:
    """FFN matrices of the 0.6B on the best tier: decode from memory, decode from the caches, prefill.

    Each column is q4g32's time over the format's, the best of some rounds for both, as neighbours on the machine only
    add time; above 1 is faster than q4g32.
    """
    native = core()
    isa = native.selected_isa()
    rows, columns = SIZES["0.6B"].matrices()["gate, up"]
    report = Report("Speed")
    for name in formats:
        check(report, name, columns, isa)
    bits = {entry["name"]: entry["bits"] for entry in native.block_formats()}
    cells: dict[str, dict[str, Cell]] = {name: {"format": name, "bits": f"{bits[name]:.2f}"} for name in formats}
    for title, tokens, memory in (
        ("decode", DECODE, MEMORY_BYTES),
        ("decode from cache", DECODE, CACHE_BYTES),
        (f"prefill of {PREFILL}", PREFILL, MEMORY_BYTES),
    ):
        calls = {
            name: functools.partial(
                timer("time_matmul"), isa=isa, format=name, rows=rows, columns=columns, tokens=tokens,
                threads=threads, seconds=SECONDS, bytes=memory,
            )
            for name in formats
        }  # fmt: skip
        measured = interleave(calls, ROUNDS, "s")
        for name in formats:
            cells[name][title] = f"{min(measured[PEER].samples) / min(measured[name].samples):.2f}"
    return list(cells.values())
