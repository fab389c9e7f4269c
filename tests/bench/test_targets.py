"""The table of targets, with engines that return what they are told; its generator is tested here, not its figures."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import engines  # noqa: E402
import peers  # noqa: E402
import quota  # noqa: E402
import targets  # noqa: E402
from engines import Engine, Sample, Work  # noqa: E402
from harness import BenchError, Measured  # noqa: E402


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> targets.Files:
    """Our file is as large as the peer's; every engine is a fake that is twice as slow as ours or half as slow."""
    for name in ("own.q3e", "own8.q3e", "large.q3e", "peer.gguf", "peer8.gguf", "folder"):
        (tmp_path / name).write_bytes(b"x" * 10)

    def own(model: Path, isa: str = "", cores: tuple[int, ...] = (), kv: str = "int8", **_: Any) -> Engine:
        return Engine(f"qwen3edge {model.name} {isa}", model, lambda work: sample(100.0, work))

    def sample(rate: float, work: Work) -> Sample:
        late = 0.6 if work.prompt > targets.SHORT else 1.0
        return Sample(1000 * rate / 100 * late, rate * work.sequences * late, int(rate) << 20, 0.91)

    def llama(tool: peers.Tool, model: Path) -> list[Engine]:
        return [Engine(f"{tool.peer} {model.name}", model, lambda work: sample(50.0, work))]

    monkeypatch.setattr(targets, "own_engine", own)
    monkeypatch.setattr(targets, "llama_engines", llama)
    monkeypatch.setattr(targets, "BENCH", tmp_path)  # no bench_start.py: it would start a real engine
    monkeypatch.setattr(targets, "timer", lambda _: lambda *_: 1e-3)
    return targets.Files(
        tmp_path / "own.q3e",
        tmp_path / "own8.q3e",
        tmp_path / "large.q3e",
        tmp_path / "peer.gguf",
        tmp_path / "peer8.gguf",
    )


def run(files: targets.Files) -> targets.Outcome:
    return targets.run_scenes(list(targets.SCENES), targets.Setting(files, threads=1, rounds=2))


def test_every_row_of_the_targets_is_there(files: targets.Files) -> None:
    outcome = run(files)
    verdicts = {(claim.row, claim.target): claim.verdict for claim in outcome.claims}
    assert not [verdict for verdict in verdicts.values() if verdict.startswith("failed")]
    rows = {row for row, _ in verdicts}
    expected = {"decode int4", "decode int8", "decode int4, 4B shape", "prefill 512", "prefill 4096", "threads"}
    expected |= {"decode after 4096, int8 KV", "8 sequences at once, the engine's own", "peak memory at 4096"}
    expected.add("second start to first token")
    expected |= {f"GEMM alone, 4B shapes, {n} tokens" for n in (512, 32)}
    assert rows == expected
    assert verdicts["decode int4", ">= 90 % of the read bandwidth"] == "met"
    assert verdicts["decode int4", ">= 1.3 x the best peer"] == "met"
    assert verdicts["decode int4, 4B shape", ">= 93 % of the read bandwidth"] == "not met"
    assert verdicts["prefill 4096", ">= 3 x the best peer"] == "not met"
    assert verdicts["8 sequences at once, the engine's own", ">= 6 x the tokens/s of one"] == "met"
    assert verdicts["peak memory at 4096", "<= 0.55 x llama.cpp"] == "not met"  # the fake's is 2 x
    notes = {(claim.row, claim.target): claim.cells()["note"] for claim in outcome.claims}
    assert notes["decode int4", ">= 1.3 x the best peer"] == "100 / 50.0 tok/s; best: llama.cpp peer.gguf"
    assert notes["8 sequences at once, the engine's own", ">= 6 x the tokens/s of one"] == "800 / 100 tok/s"
    assert {str(row["engine"]).split()[0] for row in outcome.details} == {"qwen3edge", "llama.cpp", "ik_llama.cpp"}
    assert all(set(claim.cells()) == {"row", "target", "measured", "verdict", "note"} for claim in outcome.claims)


def test_a_bench_of_the_start_is_among_the_details(files: targets.Files) -> None:
    script = files.int4.parent / "bench_start.py"
    script.write_text('print(\'{"rows": [{"engine": "qwen3edge", "ms": 1.5}]}\')')
    assert {"scene": "start", "engine": "qwen3edge", "ms": 1.5} in run(files).details


def test_what_was_not_given_is_said(files: targets.Files) -> None:
    outcome = run(targets.Files(files.int4))
    verdicts = [claim.verdict for claim in outcome.claims]
    assert "no int8 file was given" in verdicts and "no file of 4B's shape was given" in verdicts
    assert "no peer" in verdicts
    assert any("--openvino" in line for line in targets.absent_peers(files))


def test_a_scene_that_fails_leaves_the_others(files: targets.Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object, __: object) -> None:
        raise BenchError("no engine")

    monkeypatch.setitem(targets.SCENES, "int8", broken)
    claims = run(files).claims
    assert [c.verdict for c in claims if c.row == "int8"] == ["failed: no engine"]
    assert any(claim.row == "threads" for claim in claims)


def test_a_quota_is_a_group_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    with quota.one_core_quota(tmp_path) as prefix:
        assert prefix is not None
        group = Path(prefix[-1])
        assert group.parent == tmp_path / "cpu" and (group / "cpu.cfs_quota_us").read_text() == "100000"
        assert peers.run([*prefix, "sh", "-c", "echo $1", "sh", "word"]).stdout == "word\n"
        for file in group.iterdir():  # a real group's files go with it
            file.unlink()
    assert not group.exists()
    with quota.one_core_quota(tmp_path / "absent") as prefix:
        assert prefix is None


def test_a_memory_limit_is_a_group_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").touch()
    with quota.memory_limit(3 << 30, tmp_path) as prefix:
        assert prefix is not None
        group = Path(prefix[-1])
        assert group.parent == tmp_path and (group / "memory.max").read_text() == str(3 << 30)
        (group / "memory.max").unlink()
    assert not group.exists()


def test_verdicts() -> None:
    ratio = Measured("", "x", (0.9, 1.1, 1.2))
    assert targets.Claim("row", "target", ratio, 1.1).verdict == "met"
    assert targets.Claim("row", "target", ratio, 1.15).verdict == "not met"
    assert targets.Claim("row", "target", ratio, 1.0, at_most=True).verdict == "not met"
    assert targets.Claim("row", "target", ratio).verdict == "-"
    assert targets.Claim("row", "target", None, 1.0, reason="absent").verdict == "absent"


def test_engines_take_turns() -> None:
    order: list[str] = []

    def engine(name: str, rates: Iterator[float]) -> Engine:
        def take(_: Work) -> Sample:
            order.append(name)
            return Sample(next(rates), 1.0, 1)

        return Engine(name, Path(__file__), take)

    work = Work(1, 1, 1)
    runs = {"A": (engine("A", iter([1.0, 3.0])), work), "B": (engine("B", iter([2.0, 4.0])), work)}
    taken = engines.take_turns(runs, 2)
    assert "".join(order) == "ABAB"
    assert taken["B"].measured("prefill", "tok/s").samples == (2.0, 4.0)
    with pytest.raises(BenchError, match="bandwidth_share"):
        taken["A"].measured("bandwidth_share", "")


def test_own_engine_on_a_small_model(tmp_path: Path) -> None:
    model = tmp_path / "tiny.q3e"
    words: list[str | Path] = ["--shape", "tiny", "--to", "q3e", model, "--quant", "q8"]
    peers.run([sys.executable, BENCH.parent / "scripts" / "make_random.py", *words])
    one = engines.own_engine(model).take(Work(8, 4, 1))
    many = engines.own_engine(model, isa="scalar").take(Work(8, 4, 1, sequences=3))
    for sample in (one, many):
        assert sample.prefill > 0 and sample.decode > 0 and sample.peak_bytes > 1 << 20
    assert one.bandwidth_share is not None and one.bandwidth_share > 0
