"""Every bench runs with tiny settings and prints the rows that bench/report.py reads. Nothing is timed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import peers
from bench import report as bench_report
from bench.kernels.__main__ import KERNELS
from bench.kernels.__main__ import main as kernels_main
from bench.server.start import TARGET_MS
from qwen3edge import _core
from qwen3edge.convert import convert
from tests.fetch_tokenizer import RANKS
from tests.real_tokenizer import require

pytestmark = pytest.mark.usefixtures("one_core")

TINY = ("--rounds", "1", "--seconds", "0.001", "--busy-anyway")
FASTEST = ("--isa", _core.selected_isa())
CASES = {
    "matmul": ("--size", "0.6B", "--format", "q4z32", "--tokens", "1", "--cached", *FASTEST),
    "attention": ("--size", "0.6B", "--kv", "int4", "--tokens", "64", "--context", "64", *FASTEST),
    "delta": ("--size", "3.5-0.8B", "--tokens", "3", "--threads", "1", *FASTEST),
    "norm": FASTEST,
    "rope": ("--size", "0.6B", "--kv", "int8", *FASTEST),
    "silu": FASTEST,
    "sample": (),
    "barrier": ("--threads", "1"),
}
FLAGS = ("--seconds", "--rounds")
OTHER_FLAGS = {"matmul": ("--threads", "--tokens", "--shape"), "barrier": ("--threads",)}


def test_one_kernel_and_one_shape_by_one_command() -> None:
    listed = peers.run_bench("kernels").stdout
    for kernel in KERNELS:
        assert re.search(rf"^{kernel} +\w", listed, re.MULTILINE), kernel
    asked = ["matmul", "--shape", "48x256", "--format", "q4z32", "--tokens", "2", "--cached", *TINY, *FASTEST, "--json"]
    rows = json.loads(peers.run_bench("kernels", *asked).stdout)["rows"]
    assert [(row["rows"], row["columns"], row["tokens"]) for row in rows] == [(48, 256, 2)]


@pytest.mark.parametrize("kernel", CASES)
def test_a_bench_runs_and_says_its_share(kernel: str) -> None:
    step = bench_report.Step("kernels", (kernel, *TINY, *CASES[kernel]))
    result = step.run()
    assert result["rows"]
    for row in result["rows"]:
        assert "GB_s" not in row or row["of_read"] > 0
        assert "GOPS" not in row or row["of_peak"] > 0
    section = bench_report.section(step, result, Path("/nowhere"))
    assert section.startswith(f"## {result['title']}") and f"`{step.command()}`" in section


def test_experts_in_slots(tiny_moe_path: Path, tmp_path: Path) -> None:
    model = tmp_path / "tiny-moe.q3e"
    convert(tiny_moe_path, model, "int8")
    words = ["--model", model, "--kept", "8", "--tokens", "20", "--warm", "10", "--seconds", "0.1", "--busy-anyway"]
    (row,) = json.loads(peers.run_bench("kernels", "experts", *words, "--json").stdout)["rows"]
    assert row["slots"] == 8 * 4 and 0 < row["hits"] <= 1 and row["tok_s"] > 0 and row["known_hits"] is None


def test_a_start_of_a_model_with_other_words(tiny_model_path: Path, tmp_path: Path) -> None:
    """The tiny model's vocabulary takes two tokens for the bench's word."""
    model = tmp_path / "tiny.q3e"
    convert(tiny_model_path, model, "int4")
    words = ["--model", model, "--prompt", "31", "--rounds", "1", "--json", "--busy-anyway"]
    result = json.loads(peers.run_bench("models.start", *words).stdout)
    assert result["title"] == "Process start to first token, 31 prompt tokens"
    assert [row["what"] for row in result["rows"]][-2:] == ["to the first token", "process, qwen3edge"]


def test_texts_to_ids() -> None:
    require(RANKS)
    result = json.loads(peers.run_bench("text.tokenizer", *TINY[:2], "--most", "9000", "--json", TINY[-1]).stdout)
    assert [row["text"] for row in result["rows"]] == ["English", "code", "Chinese"]
    assert all(float(row["qwen3edge_MB_s"].split()[0]) > 0 for row in result["rows"])


def test_a_start_of_a_server(tiny_int4: Path) -> None:
    words = ["--model", tiny_int4, "--rounds", "1", "--threads", "1", "--json", "--busy-anyway"]
    result = json.loads(peers.run_bench("server.start", *words).stdout)
    *rows, target = result["rows"]
    assert [row["what"] for row in rows] == ["import fastapi, uvicorn", "ready", "first token", "beyond"]
    imports, ready, first, _ = (float(row["ms"].partition(" ")[0]) for row in rows)
    assert imports > 0 and 0 < ready < first
    assert target["target"] == ("met" if target["ms"] <= TARGET_MS else "missed")


def test_the_report_has_a_step_for_every_kernel() -> None:
    """But the experts', which needs a model of its own."""
    assert {step.options[0] for step in bench_report.KERNELS} == set(KERNELS) - {"experts"}


def test_a_comparison_of_whole_models(tiny_int4: Path) -> None:
    words = ["--model", tiny_int4, "--prompt", "8", "--generate", "4", "--threads", "1", "--rounds", "1"]
    result = json.loads(peers.run_bench("models.compare", *words, "--json", "--busy-anyway").stdout)
    ours = next(row for row in result["rows"] if row["engine"].startswith("qwen3edge"))
    assert {"prefill", "decode", "of_read", "peak_MB", "file_MB", "load_ms"} <= set(ours)


def test_a_conversion_is_checked(tmp_path: Path) -> None:
    """Of a checkpoint of the real form: 0.12 is what 4 bits may be off, and the matrices of another file are more."""
    for name, seed in (("one", "1"), ("other", "2")):
        bench_report.make_random(
            "--shape", "tiny", "--to", "hf", tmp_path / name, "--tokenizer", "bytes", "--seed", seed
        )
    words = ["--source", tmp_path / "one", "--rounds", "1", "--work", tmp_path, "--busy-anyway", "--json"]
    result = json.loads(peers.run_bench("models.convert", *words).stdout)
    assert result["rows"][0]["converter"] == "qwen3edge convert"
    convert(tmp_path / "one", tmp_path / "one.q3e", "int4", allow_missing_tokenizer=True)
    with pytest.raises(peers.BenchError, match="relative rms error"):
        peers.run_bench("models.checks", "file", tmp_path / "other", tmp_path / "one.q3e", "int4")


@pytest.mark.parametrize(
    ("kernel", "flag"),
    [(name, flag) for name in CASES if name != "norm" for flag in (*FLAGS, *OTHER_FLAGS.get(name, ()))],
)
@pytest.mark.parametrize("value", ["0", "-1", "x"])
def test_a_wrong_flag_is_one_line(kernel: str, flag: str, value: str, capsys) -> None:
    """Before anything is measured, and it names the flag."""
    with pytest.raises(SystemExit) as left:
        kernels_main([kernel, flag, value])
    assert left.value.code == 2
    assert f"argument {flag}: " in capsys.readouterr().err.splitlines()[-1]


def test_no_more_threads_than_cores() -> None:
    """As the runtime: two threads on one core would take turns."""
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from bench import harness; print(*(harness.usable_threads(n) for n in (2, None, 1)))"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=peers.ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "1 1 1\n"
    assert result.stderr == "--threads 2: this process may use 1 of the cores, so does the bench\n"
