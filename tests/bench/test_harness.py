"""The parts of bench/ that need neither a model nor a peer."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from qwen3edge import _core

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import bench_start  # noqa: E402
import harness  # noqa: E402
import peers  # noqa: E402
import quiet  # noqa: E402
import report as bench_report  # noqa: E402
from harness import BenchError, Measured, Report  # noqa: E402

# What llama-batched-bench prints: llama.cpp to stdout, ik_llama.cpp to stderr among other lines.
BATCHED = """
main: n_kv_max = 768, n_batch = 2048, flash_attn = 0

|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |
|-------|--------|------|--------|----------|----------|----------|----------|----------|----------|
|   512 |     64 |    1 |    576 |    1.248 |   410.16 |    1.136 |    56.32 |    2.385 |   241.54 |
|    64 |     32 |    8 |    768 |    1.200 |   426.00 |    1.300 |   196.90 |    2.500 |   307.20 |

print_timings: eval time = 1136 ms | 64 runs
"""


def test_batched_bench_output_is_parsed() -> None:
    one, eight = peers.parse_batched_bench(BATCHED)
    assert (one.prompt, one.generate, one.sequences) == (512, 64, 1)
    assert (one.prefill_tokens_per_second, one.decode_tokens_per_second) == (410.16, 56.32)
    assert (eight.sequences, eight.decode_tokens_per_second) == (8, 196.9)


@pytest.mark.parametrize("text", ["", "error: no model", "|  PP | TG |", BATCHED.replace("410.16", "fast")])
def test_other_output_is_a_bench_error(text: str) -> None:
    with pytest.raises(BenchError, match="llama-batched-bench printed"):
        peers.parse_batched_bench(text)


def test_absent_peers_are_named(tmp_path: Path) -> None:
    for tool in peers.TOOLS:
        assert tool.find({"PATH": str(tmp_path)}) is None
        assert tool.peer in tool.absent() and tool.variable in tool.absent()


def test_peers_are_found_by_variable_and_on_path(tmp_path: Path) -> None:
    program = tmp_path / "llama-batched-bench"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert peers.LLAMA.find({"PATH": str(tmp_path)}) == program
    for tool in (peers.IK_LLAMA, peers.LLAMA_AVX2, peers.LLAMA_AVX512):  # the name belongs to llama.cpp's own build
        assert tool.find({"PATH": str(tmp_path)}) is None
        assert tool.find({tool.variable: str(program)}) == program
    with pytest.raises(BenchError, match="QWEN3EDGE_LLAMA"):
        peers.LLAMA.find({"QWEN3EDGE_LLAMA": str(tmp_path / "absent")})


def test_scripts_run_with_the_named_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "convert_hf_to_gguf.py"
    script.touch()
    monkeypatch.setenv("QWEN3EDGE_LLAMA_CONVERT", str(script))
    monkeypatch.setenv("QWEN3EDGE_LLAMA_PYTHON", "/usr/bin/python3")
    assert peers.llama_convert_command(Path("in"), Path("out"))[:2] == ["/usr/bin/python3", script]


def test_run_measures_a_child() -> None:
    finished = peers.run([sys.executable, "-c", "x = b'1' * 200_000_000; print(len(x))"])
    assert finished.stdout == "200000000\n"
    assert 200_000_000 < finished.peak_bytes < 2_000_000_000
    assert finished.seconds > 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks pass from parent to child on Linux only")
def test_a_child_is_not_charged_for_memory_that_this_process_gave_back() -> None:
    held = _core.resident_bytes()
    block = np.ones(50_000_000)  # 400 MB
    del block
    assert peers.run(["/bin/true"]).peak_bytes < held + 200_000_000


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="affinity masks are Linux's")
def test_run_passes_environment_and_cores() -> None:
    mine = os.sched_getaffinity(0)
    one = min(mine)
    code = "import os; print(os.environ['WORD'], sorted(os.sched_getaffinity(0)))"
    assert peers.run([sys.executable, "-c", code], environment={"WORD": "x"}, cores=[one]).stdout == f"x [{one}]\n"
    assert os.sched_getaffinity(0) == mine


def test_timing_takes_the_lock_that_is_named(tmp_path: Path) -> None:
    name = tmp_path / "lock"
    with harness.turn({"QWEN3EDGE_BENCH_LOCK": str(name)}), name.open("a") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with name.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with harness.turn({}):
        pass


def test_run_names_what_failed() -> None:
    with pytest.raises(BenchError, match=r"status 3: broken"):
        peers.run([sys.executable, "-c", "import sys; print('broken', file=sys.stderr); sys.exit(3)"])
    with pytest.raises(BenchError, match="signal 6"):
        peers.run([sys.executable, "-c", "import os; os.abort()"])
    with pytest.raises(BenchError, match="longer than"):
        peers.run([sys.executable, "-c", "import time; time.sleep(30)"], timeout=0.3)
    with pytest.raises(BenchError, match="cannot run"):
        peers.run(["/nowhere/program"])


def test_medians_spread_and_ratios() -> None:
    ours, theirs = Measured("a", "tok/s", (30.0, 10.0, 20.0)), Measured("b", "tok/s", (10.0, 5.0, 10.0))
    assert ours.median == 20.0
    assert ours.spread == pytest.approx(1.0)
    ratio = ours.ratio_to(theirs)
    assert ratio.samples == (3.0, 2.0, 2.0) and ratio.unit == "x" and ratio.median == 2.0
    assert ratio.text() == "2.00 (2.00 to 3.00)" and ours.beside(theirs) == "20.0 / 10.0 tok/s"
    assert ours.text() == "20.0 (10.0 to 30.0)"
    with pytest.raises(BenchError, match="rounds"):
        ours.ratio_to(Measured("c", "tok/s", (1.0,)))


def test_a_ratio_is_that_of_the_medians_that_are_printed() -> None:
    """Not the median of the rounds' ratios, 1.5 here, nor of digits that nobody sees, 72.54 / 33.12."""
    ours, theirs = Measured("a", "tok/s", (72.54, 60.0, 90.0)), Measured("b", "tok/s", (33.12, 40.0, 10.0))
    assert ours.beside(theirs) == "72.5 / 33.1 tok/s"
    assert ours.ratio_to(theirs).median == 72.5 / 33.1
    assert ours.ratio_to(theirs).text() == "2.19 (1.50 to 9.00)"


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="elsewhere it is the load average")
def test_another_process_makes_the_machine_busy() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            assert quiet.busy_cores(0.5) > quiet.QUIET_CORES
        finally:
            other.kill()


def test_a_busy_machine_is_waited_for_then_refused() -> None:
    loads, clock = iter([1.0, 0.6, 0.1, 5.0]), iter(range(100))
    quiet.wait_for_quiet(10, lambda _: next(loads), lambda: next(clock))
    assert next(loads) == 5.0  # it returned at the first quiet sample
    with pytest.raises(quiet.BusyMachineError, match=r"at most 0\.2 cores .* within 10 s, found 0\.90.*--busy-anyway"):
        quiet.wait_for_quiet(10, lambda _: 0.9, lambda: next(clock))


def test_a_bench_refuses_a_busy_machine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def busy() -> None:
        raise quiet.BusyMachineError("the machine is busy")

    ran: list[bool] = []

    def bench(arguments: argparse.Namespace) -> Report:
        ran.append(arguments.busy_anyway)
        return Report("bench")

    monkeypatch.setattr(harness, "wait_for_quiet", busy)
    monkeypatch.setattr(sys, "argv", ["bench.py"])
    assert harness.main(bench, argparse.ArgumentParser()) == 1 and ran == []
    assert capsys.readouterr().err == "bench.py: the machine is busy\n"
    monkeypatch.setattr(sys, "argv", ["bench.py", "--busy-anyway"])
    assert harness.main(bench, argparse.ArgumentParser()) == 0 and ran == [True]


@pytest.mark.parametrize("refused", ["at once", "by a bench"])
def test_the_page_stays_where_the_machine_is_busy(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def busy() -> None:
        raise quiet.BusyMachineError(f"{quiet.BusyMachineError.WORDS}: found 1.00")

    def run(step: bench_report.Step) -> None:
        raise BenchError(f"{step.script} ended with status 1: {quiet.BusyMachineError.WORDS}: found 1.00")

    out = tmp_path / "bench.md"
    out.write_text("good figures")
    monkeypatch.setattr(bench_report, "wait_for_quiet", busy if refused == "at once" else lambda: None)
    monkeypatch.setattr(bench_report.Step, "run", run)
    monkeypatch.setattr(bench_report, "model_steps", lambda *_: [])
    monkeypatch.setattr(bench_report, "make_checkpoint", lambda work: work)
    monkeypatch.setattr(sys, "argv", ["report.py", "--work", str(tmp_path), "--out", str(out)])
    assert bench_report.main() == 1
    assert out.read_text() == "good figures" and "the machine is busy: found 1.00" in capsys.readouterr().err


def test_figures_of_a_busy_machine_stay_out_of_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = BENCH.parent / "docs" / "bench.md"
    words = ["report.py", "--busy-anyway", "--work", str(tmp_path), "--out", str(page)]
    monkeypatch.setattr(sys, "argv", words)
    before = page.read_bytes()
    assert bench_report.main() == 1
    assert page.read_bytes() == before and "outside docs/" in capsys.readouterr().err


def test_candidates_take_turns() -> None:
    order: list[str] = []

    def candidate(name: str, values: Iterator[float]) -> float:
        order.append(name)
        return next(values)

    first, second = iter([1.0, 2.0, 3.0]), iter([4.0, 5.0, 6.0])
    measured = harness.interleave({"A": lambda: candidate("A", first), "B": lambda: candidate("B", second)}, 3, "s")
    assert "".join(order) == "ABABAB"
    assert measured["A"].samples == (1.0, 2.0, 3.0) and measured["B"].median == 5.0
    with pytest.raises(BenchError):
        harness.interleave({}, 0, "s")


def test_seconds_per_call() -> None:
    calls: list[int] = []
    assert 0 < harness.seconds_per_call(lambda: calls.append(1), 0.001) < 0.1
    assert calls


def test_nothing_is_reported_before_it_was_compared() -> None:
    report = Report("bench")
    with pytest.raises(BenchError, match="not compared"):
        report.add("case", seconds=1.0)
    report.check("case", np.arange(3), np.arange(3))
    report.add("case", seconds=1.0)
    assert report.rows == [{"seconds": 1.0}]


def test_wrong_results_are_refused() -> None:
    report, right = Report("bench"), np.array([1.0, 2.0], np.float32)
    with pytest.raises(BenchError, match="1 of 2"):
        report.check("case", np.array([1.0, 2.5], np.float32), right)
    with pytest.raises(BenchError, match="shape"):
        report.check("case", right[:1], right)
    with pytest.raises(BenchError, match="relative error"):
        report.check("case", np.array([1.0, np.nan], np.float32), right, tolerance=0.1)
    with pytest.raises(BenchError, match="slow"):
        report.accept("case", False, "slow")
    assert not report.checked
    report.check("case", right * 1.01, right, tolerance=0.1)
    assert report.checked == {"case"}


def test_tables() -> None:
    rows: list[dict[str, harness.Cell]] = [{"shape": "q", "GB/s": 12.345}, {"shape": "down", "share": None}]
    assert harness.table(rows) == ["shape  GB/s  share", "q      12.3  -", "down   -     -"]
    assert harness.markdown_table(rows)[2] == "| q | 12.3 | - |"
    report = Report("bench", rows=rows, notes=["a note"])
    assert json.loads(json.dumps(report.to_dict()))["rows"][0]["shape"] == "q"
    assert report.text().startswith("bench\n") and "a note" in report.markdown()


def test_cpu_model() -> None:
    assert harness.cpu_model("model name\t: AMD EPYC\ncpu family\t: 26\nmodel\t\t: 2\n\nmodel name\t: other\n") == (
        "AMD EPYC (family 26, model 2)"
    )
    assert harness.cpu_model("Model\t: Raspberry Pi 5\n") == "Raspberry Pi 5"
    assert harness.cpu_model("")


def test_the_page_names_the_machine_and_hides_where_it_was_made() -> None:
    machine = vars(harness.Machine("AMD EPYC", 2, ["scalar", "avx2"], 24 << 30, "Linux", busy_cores=0.1))
    limits = {"read_bytes_per_second": {"1": 3e10}, "int8_operations_per_second": {"avx2": 1e12}, "threads": 1}
    step = bench_report.Step("bench_model.py", ("--model", "/made/here/x.q3e", "--openvino", "/made/elsewhere/folder"))
    result = {"title": "Decode", "rows": [{"engine": "ours", "decode": 12.345}], "notes": ["llama.cpp: absent"]}
    text = bench_report.page(machine, [limits], [bench_report.section(step, result, Path("/made/here"))])
    for expected in (
        "AMD EPYC, 2 cores",
        "30.0 GB/s with 1",
        "| ours | 12.3 |",
        "absent",
        "--model build/bench/x.q3e --openvino folder",
    ):
        assert expected in text
    assert "/made" not in text and "0.10 cores busy with other things" in text


def test_the_peer_of_a_start(tmp_path, monkeypatch):
    for name in ("QWEN3EDGE_LLAMA_COMPLETION", "QWEN3EDGE_LLAMA_SIMPLE", "QWEN3EDGE_LLAMA_BENCH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    model = Path("x.gguf")
    assert bench_start.peer_command("hi", model, 2) is None
    (tmp_path / "llama-bench").touch()
    (tmp_path / "llama-simple").touch()
    monkeypatch.setenv("QWEN3EDGE_LLAMA_BENCH", str(tmp_path / "llama-bench"))
    assert bench_start.peer_command("hi", model, 2) == (
        "llama-simple",
        [tmp_path / "llama-simple", "-m", model, "-n", "1", "hi"],
    )
    (tmp_path / "llama-completion").touch()
    name, command = bench_start.peer_command("hi", model, 2)
    assert (name, command[0]) == ("llama-completion", tmp_path / "llama-completion")
    assert command[command.index("-t") + 1] == "2"
