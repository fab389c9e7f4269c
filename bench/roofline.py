"""The roofline of one run: what the machine can do at most at an intensity, and where our kernels lie below it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Point:
    """One kernel at one shape."""

    isa: str
    work: str  # what the legend says, e.g. "q4z32"
    intensity: float  # operations a byte
    gops: float


@dataclass(frozen=True)
class Roofs:
    bandwidth: float  # GB/s, all threads
    peaks: dict[str, float]  # GOPS by tier, all threads

    def at(self, isa: str, intensity: float) -> float:
        """GOPS that the tier could reach."""
        return min(self.bandwidth * intensity, self.peaks[isa])


def points_of(results: Iterable[Mapping[str, Any]]) -> list[Point]:
    """Of every row that counts both operations and bytes; `results` are the benches' JSON."""
    points = []
    for result in results:
        for row in result["rows"]:
            gops, rate = row.get("GOPS"), row.get("GB_s")
            if isinstance(gops, float) and isinstance(rate, float) and rate > 0 and "isa" in row:
                work = str(row.get("format") or row.get("work") or result["title"])
                points.append(Point(row["isa"], work, gops / rate, gops))
    return points


def roofs_of(results: Iterable[Mapping[str, Any]]) -> Roofs | None:
    """Those of the results that were measured with most threads; of several, the highest."""
    limits = [result["limits"] for result in results if result.get("limits")]
    if not limits:
        return None
    threads = max(int(each["threads"]) for each in limits)
    widest = [each for each in limits if int(each["threads"]) == threads]
    reads = [max(each["read_bytes_per_second"].values()) for each in widest]
    peaks: dict[str, float] = {}
    for each in widest:
        for isa, rate in each["int8_operations_per_second"].items():
            peaks[isa] = max(peaks.get(isa, 0.0), rate / 1e9)
    return Roofs(max(reads) / 1e9, peaks)
