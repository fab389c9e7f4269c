"""Prints the table of docs/devices.md: what `qwen3edge plan` says of a model on a class of devices, and how fast memory
lets it be.

    python scripts/device_plans.py

Plans are those of files with holes in place of weights (scripts/make_random.py), which have the same shapes. A token
reads all weights that are resident once, and the KV cache, here half full: bandwidth divided by that bounds the tokens
a second. Bandwidths are those of the memory's data sheet.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from make_random import SHAPES, write_hollow

from qwen3edge.cli.main import main as qwen3edge

MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True)
class Row:
    """A model on a class of devices."""

    device: str
    memory: str  # its type and width
    bandwidth: float  # GB/s
    shape: str
    options: str  # of `qwen3edge plan`, and of all that loads a model


_BOARD = ("2 GB board", "LPDDR4-3200, 32 bits", 12.8)
_PI = ("Raspberry Pi 5, 8 GB", "LPDDR4X-4267, 32 bits", 17.1)
_JETSON = ("Jetson Orin Nano, 8 GB", "LPDDR5, 128 bits", 68.0)
_PHONE_8 = ("phone of 8 GB", "LPDDR5-6400, 64 bits", 51.2)
_PHONE_12 = ("phone of 12 GB", "LPDDR5X-8533, 64 bits", 68.3)
_LAPTOP = ("laptop of 16 GB", "DDR5-5600, 128 bits", 89.6)

ROWS = (
    Row(*_BOARD, "0.6B", "--context 4096 --memory 1GiB"),
    Row(*_BOARD, "1.7B", "--context 2048 --kv int4 --memory 1.25GiB"),
    Row(*_PI, "1.7B", "--context 8192 --memory 2GiB"),
    Row(*_PI, "4B", "--context 8192 --memory 4GiB"),
    Row(*_JETSON, "4B", "--context 16384 --memory 5GiB"),
    Row(*_PHONE_8, "1.7B", "--context 4096 --memory 1.5GiB"),
    Row(*_PHONE_8, "4B", "--context 4096 --kv int4 --memory 2.75GiB"),
    Row(*_PHONE_12, "8B", "--context 8192 --kv int4 --memory 5GiB"),
    Row(*_LAPTOP, "8B", "--context 32768 --memory 8GiB"),
    Row(*_LAPTOP, "30B-A3B", "--context 8192 --memory 10GiB"),
)

HEADER = "| device | memory | model, int4 | settings | weights | KV cache | peak | tok/s, at most |"


def plan(path: Path, options: str) -> dict[str, Any]:
    """As the command prints it."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = qwen3edge(["plan", str(path), *options.split(), "--threads", "1", "--json"])
    if status:
        raise SystemExit(status)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def line(row: Row, found: dict[str, Any]) -> str:
    """Of the table."""
    rate = "by its disk"
    if not found["streamed"] and not found["expert_slots"]:
        rate = f"{row.bandwidth * 1e9 / (found['weights'] + found['kv_cache'] / 2):.0f}"
    cells = [
        row.device, f"{row.memory}: {row.bandwidth:g} GB/s", row.shape, f"`{row.options}`",
        f"{found['weights'] / MIB:,.0f} MiB", f"{found['kv_cache'] / MIB:,.0f} MiB",
        f"{found['peak'] / GIB:.2f} GiB", rate,
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def lines() -> Iterator[str]:
    """The table."""
    yield HEADER
    yield "|" + " --- |" * 8
    with tempfile.TemporaryDirectory() as folder:
        for row in ROWS:
            path = Path(folder) / f"{row.shape}.q3e"
            if not path.exists():
                write_hollow(path, SHAPES[row.shape], "int4", "bytes")
            yield line(row, plan(path, row.options))


if __name__ == "__main__":
    sys.stdout.writelines(f"{each}\n" for each in lines())
