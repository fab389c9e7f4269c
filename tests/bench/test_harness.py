"""The parts of bench/ that need neither a model nor a peer."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench import harness, peers, quiet, tables
from bench import report as bench_report
from bench.harness import Measured, Report
from bench.models import start
from bench.quiet import BenchError
from qwen3edge import _core

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
    tools = [tool for tool in vars(peers).values() if isinstance(tool, peers.Tool)]
    assert len(tools) > 5
    for tool in tools:
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


def test_run_passes_an_environment() -> None:
    code = "import os; print(os.environ['WORD'])"
    assert peers.run([sys.executable, "-c", code], environment={"WORD": "x"}).stdout == "x\n"


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
    assert harness.main(bench, argparse.ArgumentParser("bench.py"), []) == 1 and ran == []
    assert capsys.readouterr().err == "bench.py: the machine is busy\n"
    assert harness.main(bench, argparse.ArgumentParser(), ["--busy-anyway"]) == 0 and ran == [True]


@pytest.mark.parametrize("refused", ["at once", "by a bench"])
def test_the_page_stays_where_the_machine_is_busy(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def busy() -> None:
        raise quiet.BusyMachineError(f"{quiet.BusyMachineError.WORDS}: found 1.00")

    def run(step: bench_report.Step) -> None:
        raise BenchError(f"{step.module} ended with status 1: {quiet.BusyMachineError.WORDS}: found 1.00")

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
    page = peers.ROOT / "docs" / "bench.md"
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
    with pytest.raises(BenchError, match="1 of 2"):
        report.check("case", np.array([1.0, np.nan], np.float32), right)
    with pytest.raises(BenchError, match="slow"):
        report.accept("case", False, "slow")
    assert not report.checked
    report.check("case", right.copy(), right)
    assert report.checked == {"case"}


def test_tables() -> None:
    rows: list[dict[str, tables.Cell]] = [{"shape": "q", "GB/s": 12.345}, {"shape": "down", "share": None}]
    assert tables.table(rows) == ["shape  GB/s  share", "q      12.3  -", "down   -     -"]
    assert tables.markdown_table(rows)[2] == "| q | 12.3 | - |"
    report = Report("bench", rows=rows, notes=["a note"])
    assert json.loads(report.json())["rows"][0]["shape"] == "q"
    assert report.text().startswith("bench\n") and "a note" in report.markdown()


def test_cpu_model() -> None:
    assert harness.cpu_model("model name\t: AMD EPYC\ncpu family\t: 26\nmodel\t\t: 2\n\nmodel name\t: other\n") == (
        "AMD EPYC (family 26, model 2)"
    )
    assert harness.cpu_model("Model\t: Raspberry Pi 5\n") == "Raspberry Pi 5"
    assert harness.cpu_model("")


def test_the_page_names_the_machine_and_hides_where_it_was_made() -> None:
    limits = {"read_bytes_per_second": {"1": 3e10}, "int8_operations_per_second": {"avx2": 1e12}, "threads": 1}
    step = bench_report.Step("models.targets", ("--model", "/made/here/x.q3e", "--openvino", "/made/elsewhere/folder"))
    result = {"title": "Decode", "rows": [{"engine": "ours", "decode": 12.345}], "notes": ["llama.cpp: absent"]}
    result |= {"details": [], "machine": "AMD EPYC, 2 cores", "limits": limits}
    text = bench_report.page([result], [bench_report.section(step, result, Path("/made/here"))])
    for expected in (
        "AMD EPYC, 2 cores",
        "30.0 GB/s with 1",
        "| ours | 12.3 |",
        "absent",
        "--model build/bench/x.q3e --openvino folder",
    ):
        assert expected in text
    assert "/made" not in text


def test_the_machine_in_a_line() -> None:
    line = harness.describe_machine()
    assert f"{_core.usable_cores()} cores" in line and _core.selected_isa() in line
    assert "cores busy with other things" in line and "\n" not in line


def test_a_row_has_its_shares_of_the_limits() -> None:
    report = Report("bench", limits=harness.Limits({1: 2e9, 2: 4e9}, {"avx2": 1e12}, 2))
    report.accept("case", True, "")
    report.add_timed("case", Measured("", "s", (0.5, 1.0, 1.5)), nbytes=1e9, operations=5e11, isa="avx2", size="0.6B")
    assert report.rows == [
        {"size": "0.6B", "isa": "avx2", "spread": 1.0, "GB_s": 1.0, "of_read": 0.25, "GOPS": 500.0, "of_peak": 0.5}
    ]


def test_the_peer_of_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QWEN3EDGE_LLAMA_COMPLETION", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="llama-completion"):
        start.peer_command("hi", Path("x.gguf"), 2)
    program = tmp_path / "llama-completion"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    command = start.peer_command("hi", Path("x.gguf"), 2)
    assert command[0] == program and command[command.index("-t") + 1] == "2"


def test_a_file_is_read_through(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 5_000_001)
    assert peers.read_through(tmp_path / "file") == 5_000_001


@pytest.mark.parametrize("unified", [True, False])
def test_a_memory_limit_is_a_group_of_its_own(unified: bool, tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    if unified:
        (tmp_path / "cgroup.controllers").touch()
    folder, limit = (tmp_path, "memory.max") if unified else (tmp_path / "memory", "memory.limit_in_bytes")
    with peers.memory_limit(3 << 30, tmp_path) as prefix:
        group = Path(prefix[-1])
        assert group.parent == folder and (group / limit).read_text() == str(3 << 30)
        assert peers.run([*prefix, "sh", "-c", "echo $1", "sh", "word"]).stdout == "word\n"
        for file in group.iterdir():  # a real group's files go with it
            file.unlink()
    assert not group.exists()
    with pytest.raises(BenchError, match="control group"), peers.memory_limit(1, tmp_path / "absent"):
        pass


def test_only_the_marked_part_is_replaced(tmp_path: Path) -> None:
    path, marks = tmp_path / "page.md", ("<!-- begin -->", "<!-- end -->")
    path.write_text(f"before\n{marks[0]}\nold\n{marks[1]}\nafter\n", encoding="utf-8")
    for _ in range(2):
        tables.write_between(path, marks, "new\n")
        assert path.read_text(encoding="utf-8") == f"before\n{marks[0]}\n\nnew\n\n{marks[1]}\nafter\n"
    path.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="expected the marks"):
        tables.write_between(path, marks, "new")
