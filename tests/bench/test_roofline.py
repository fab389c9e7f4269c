"""The roofline's points and roofs from the benches' JSON, and the picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import peers  # noqa: E402
import roofline  # noqa: E402
from harness import BenchError  # noqa: E402

LIMITS = {"read_bytes_per_second": {"1": 2e10, "2": 4e10}, "int8_operations_per_second": {"avx2": 1e12}, "threads": 2}
LESS = {"read_bytes_per_second": {"1": 9e10}, "int8_operations_per_second": {}, "threads": 1}
RESULTS: list[dict[str, Any]] = [
    {
        "title": "Matrix products",
        "limits": LIMITS,
        "rows": [
            {"format": "q8", "isa": "avx2", "GB_s": 30.0, "GOPS": 60.0},
            {"format": "q8", "isa": "avx2", "GB_s": 2.0, "GOPS": 800.0},
        ],
    },
    {"title": "Norm", "limits": LESS, "rows": [{"isa": "avx2", "GB_s": 30.0}]},
]


def test_points_and_roofs() -> None:
    assert [(point.intensity, point.gops) for point in roofline.points_of(RESULTS)] == [(2.0, 60.0), (400.0, 800.0)]
    roofs = roofline.roofs_of(RESULTS)
    assert roofs == roofline.Roofs(40.0, {"avx2": 1000.0})
    assert roofs.at("avx2", 2.0) == 80.0 and roofs.at("avx2", 1e4) == 1000.0
    assert roofline.roofs_of([{"limits": None, "rows": []}]) is None


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    source, target = tmp_path / "results.json", tmp_path / "roofline.png"
    source.write_text(json.dumps(RESULTS))
    peers.run([sys.executable, BENCH / "plot_roofline.py", source, target])
    assert target.read_bytes().startswith(b"\x89PNG")
    source.write_text("[]")
    with pytest.raises(BenchError, match="no kernel"):
        peers.run([sys.executable, BENCH / "plot_roofline.py", source, target])
