"""Every bench of a kernel runs with tiny settings and prints the rows that bench/report.py reads. Nothing is timed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from qwen3edge import _core
from qwen3edge.convert import convert

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import kernel as bench_kernel  # noqa: E402
import peers  # noqa: E402
import report as bench_report  # noqa: E402
from bench_small import OPERATIONS  # noqa: E402

TINY = ("--rounds", "1", "--seconds", "0.001", "--busy-anyway")
FASTEST = ("--isa", _core.selected_isa())
CASES = {
    "matmul": ("--size", "0.6B", "--format", "q4z32", "--tokens", "1", "--cached", *FASTEST),
    "norm": FASTEST,
    "rope": ("--size", "0.6B", "--kv", "int8", *FASTEST),
    "silu": FASTEST,
    "sample": (),
    "barrier": ("--threads", "1"),
}
FLAGS = ("--seconds", "--rounds")
OTHER_FLAGS = {"matmul": ("--threads", "--tokens"), "barrier": ("--threads",)}


def test_one_kernel_and_one_shape_by_one_command() -> None:
    listed = peers.run([sys.executable, BENCH / "kernel.py"]).stdout
    for kernel in CASES:
        assert re.search(rf"^{kernel} +\w", listed, re.MULTILINE), kernel
    asked = ["matmul", "--shape", "48x256", "--format", "q4z32", "--tokens", "2", "--cached", *TINY, *FASTEST, "--json"]
    rows = json.loads(peers.run([sys.executable, BENCH / "kernel.py", *asked]).stdout)["rows"]
    assert [(row["rows"], row["columns"], row["tokens"]) for row in rows] == [(48, 256, 2)]


@pytest.mark.parametrize("kernel", CASES)
def test_a_bench_runs_and_says_its_share(kernel: str) -> None:
    script, *first = bench_kernel.command(kernel)
    step = bench_report.Step(Path(script).name, (*first, *TINY, *CASES[kernel]))
    result = step.run()
    assert result["rows"]
    for row in result["rows"]:
        assert "GB_s" not in row or row["of_read"] > 0
        assert "GOPS" not in row or row["of_peak"] > 0
    section = bench_report.section(step, result, Path("/nowhere"))
    assert section.startswith(f"## {result['title']}") and f"`{step.command()}`" in section


def test_a_start_of_a_model_with_other_words(tmp_path: Path) -> None:
    """The tiny model's vocabulary takes two tokens for the bench's word."""
    model = tmp_path / "tiny.q3e"
    convert(BENCH.parent / "tests" / "data" / "tiny-qwen3", model, "int4")
    words = ["--model", model, "--prompt", "31", "--rounds", "1", "--json", "--busy-anyway"]
    result = json.loads(peers.run([sys.executable, BENCH / "bench_start.py", *words]).stdout)
    assert result["title"] == "Process start to first token, 31 prompt tokens"
    assert [row["what"] for row in result["rows"]][-2:] == ["to the first token", "process, qwen3edge"]


def test_the_report_has_a_step_for_every_bench() -> None:
    there = {path.name for path in BENCH.glob("bench_*.py")}
    stepped = {step.script for step in bench_report.KERNELS} | {"bench_convert.py", "bench_model.py"}
    assert there - stepped <= {
        "bench_experts.py",
        "bench_start.py",
        "bench_static.py",
    }  # own models; minutes of compiling
    assert {step.script for step in bench_report.KERNELS} <= there
    small = {step.options[0] for step in bench_report.KERNELS if step.script == "bench_small.py"}
    assert small == set(OPERATIONS)


@pytest.mark.parametrize(
    ("kernel", "flag"),
    [(name, flag) for name in CASES if name != "norm" for flag in (*FLAGS, *OTHER_FLAGS.get(name, ()))],
)
@pytest.mark.parametrize("value", ["0", "-1", "x"])
def test_a_wrong_flag_is_one_line(kernel: str, flag: str, value: str) -> None:
    """Before anything is measured, and it names the flag."""
    command = [sys.executable, *bench_kernel.command(kernel), flag, value]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert f"argument {flag}: " in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_no_more_threads_than_cores() -> None:
    """As the runtime: two threads on one core would take turns."""
    program = (
        "import os, sys; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); sys.path.insert(0, sys.argv[1])\n"
        "import harness; print(harness.usable_threads(2), harness.usable_threads(None), harness.usable_threads(1))"
    )
    result = subprocess.run([sys.executable, "-c", program, BENCH], capture_output=True, text=True, check=True)
    assert result.stdout == "1 1 1\n"
    assert result.stderr == "--threads 2: this process may use 1 of the cores, so does the bench\n"
