"""docs/devices.md has what the plan says."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PEAK = re.compile(r"(\d+\.\d\d) GiB \| ([\w ]+) \|$")


def table(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def test_the_page_has_what_the_script_prints():
    """Word for word but for peaks, in which the size of the running Python counts."""
    command = [sys.executable, ROOT / "scripts" / "device_plans.py"]
    printed = table(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    written = table((ROOT / "docs" / "devices.md").read_text(encoding="utf-8"))
    assert len(printed) == len(written) > 8 and printed[:2] == written[:2]
    for ours, theirs in zip(printed[2:], written[2:], strict=True):
        assert PEAK.sub(r"\2", ours) == PEAK.sub(r"\2", theirs)
        peaks = [float(PEAK.search(each)[1]) for each in (ours, theirs)]
        assert peaks[0] == pytest.approx(peaks[1], rel=0.05)


def test_a_hollow_file_plans_as_a_full_one(tmp_path):
    sys.path.insert(0, str(ROOT / "scripts"))
    import make_random  # noqa: PLC0415

    from qwen3edge import plan  # noqa: PLC0415

    shape = make_random.SHAPES["tiny-moe"]
    make_random.write_q3e(tmp_path / "full.q3e", shape, 0, "int4", "bytes")
    nbytes = make_random.write_hollow(tmp_path / "hollow.q3e", shape, "int4", "bytes")
    assert nbytes == (tmp_path / "hollow.q3e").stat().st_size
    full, hollow = (plan(tmp_path / f"{name}.q3e", context=512, memory="2GiB") for name in ("full", "hollow"))
    assert (full.weights, full.kv_cache, full.scratch) == (hollow.weights, hollow.kv_cache, hollow.scratch)
