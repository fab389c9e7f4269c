"""What a process takes of the memory, as Linux counts it."""

from __future__ import annotations

from pathlib import Path


def memory_of(process: int | str = "self") -> dict[str, int]:
    """In bytes: VmHWM, RssAnon, VmSwap; and Threads. process: its id."""
    lines = (line.partition(":") for line in Path(f"/proc/{process}/status").read_text().splitlines())
    found = {name: value.split() for name, _, value in lines}
    sizes = {name: int(found[name][0]) << 10 for name in ("VmHWM", "RssAnon", "VmSwap")}
    return {**sizes, "Threads": int(found["Threads"][0])}


def anonymous(found: dict[str, int]) -> int:
    """What is nobody's file, swapped out or not: a leak shows there."""
    return found["RssAnon"] + found["VmSwap"]
