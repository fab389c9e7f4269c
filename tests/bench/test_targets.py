"""The table of targets, with engines that return what they are told; its generator is tested here, not its figures."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import peers
from bench.harness import Measured, Report
from bench.models import engines, targets
from bench.models.engines import Engine, Sample, Work
from bench.quiet import BenchError
from bench.report import make_random
from qwen3edge import _core


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """Our file is as large as the peer's; every engine is a fake that is as fast as it is told."""
    names = {"model": "own.q3e", "int8": "own8.q3e", "large": "large.q3e"}
    names |= {"peer_model": "peer.gguf", "peer_int8": "peer8.gguf"}
    files = {option: tmp_path / name for option, name in names.items()}
    for path in files.values():
        path.write_bytes(b"x" * 10)

    def own(model: Path, isa: str = "", **_: Any) -> Engine:
        return Engine(f"qwen3edge {model.name} {isa}", model, lambda work: sample(100.0, work))

    def sample(rate: float, work: Work) -> Sample:
        late = 0.6 if work.prompt > targets.SHORT else 1.0
        return Sample(1000 * rate / 100 * late, rate * work.sequences * late, int(rate) << 20, 0.91)

    def llama(tool: peers.Tool, model: Path | None) -> list[Engine]:
        return [] if model is None else [Engine(f"{tool.peer} {model.name}", model, lambda work: sample(50.0, work))]

    def start(module: str, *_: object) -> peers.Finished:
        return peers.Finished('{"rows": [{"engine": "qwen3edge", "ms": 1.5}]}', "", 1.0, 1)

    monkeypatch.setattr(engines, "own_engine", own)
    monkeypatch.setattr(engines, "llama_engines", llama)
    monkeypatch.setattr(targets, "run_bench", start)
    monkeypatch.setattr(_core.kernels, "time_matmul", lambda *_: 1e-3)
    return argparse.Namespace(**files, openvino=None, threads=1, rounds=2)


def run(given: argparse.Namespace) -> tuple[list[targets.Claim], Report]:
    report = Report("targets")
    return [claim for name in targets.SCENES for claim in targets.claims(name, given, report)], report


def test_every_row_of_the_targets_is_there(given: argparse.Namespace) -> None:
    claims, report = run(given)
    verdicts = {(claim.row, claim.target): claim.verdict for claim in claims}
    assert len(verdicts) == len(claims)
    assert not [verdict for verdict in verdicts.values() if verdict.startswith("failed")]
    rows = {row for row, _ in verdicts}
    expected = {"decode int4", "decode int8", "decode int4, 4B shape", "prefill 512", "prefill 4096"}
    expected |= {"decode after 4096, int8 KV", "8 sequences at once, the engine's own", "peak memory at 4096"}
    expected.add("second start to first token")
    expected |= {f"GEMM alone, 4B shapes, {n} tokens" for n in (512, 32)}
    assert rows == expected
    assert verdicts["decode int4", ">= 90 % of the read bandwidth"] == "met"
    assert verdicts["decode int4", ">= 1.3 x the best peer"] == "met"
    assert verdicts["decode int4", "file no larger than the peer's"] == "met"
    assert verdicts["decode int4, 4B shape", ">= 93 % of the read bandwidth"] == "not met"
    assert verdicts["prefill 512", "avx2: >= 1.2 x llama.cpp built for it"] in ("met", "this CPU has no avx2")
    assert verdicts["prefill 4096", ">= 50 % of the rate at 512"] == "met"
    assert verdicts["prefill 4096", ">= 3 x the best peer"] == "not met"
    many = "8 sequences at once, the engine's own"
    assert verdicts[many, ">= 6 x the tokens/s of one"] == "met"
    assert verdicts[many, "(ik_llama.cpp peer.gguf; no target)"] == "-"
    assert verdicts["peak memory at 4096", "<= 0.55 x llama.cpp"] == "not met"  # the fake's is 2 x
    notes = {(claim.row, claim.target): claim.cells()["note"] for claim in claims}
    assert notes["decode int4", ">= 1.3 x the best peer"] == "100 / 50.0 tok/s; best: llama.cpp peer.gguf"
    assert notes[many, ">= 6 x the tokens/s of one"] == "800 / 100 tok/s"
    assert {str(row["engine"]).split()[0] for row in report.details} == {"qwen3edge", "llama.cpp", "ik_llama.cpp"}
    assert {"scene": "start", "engine": "qwen3edge", "ms": 1.5} in report.details
    scenes = [str(row["scene"]) for row in report.details]
    assert list(dict.fromkeys(scenes)) == [
        "512", "512, int8", "4B", "512, one token", "4096", "1 at once", "8 at once", "start",
    ]  # fmt: skip
    assert all(set(claim.cells()) == {"row", "target", "measured", "verdict", "note"} for claim in claims)


def test_what_was_not_given_is_said(given: argparse.Namespace) -> None:
    for option in ("int8", "large", "peer_model", "peer_int8"):
        setattr(given, option, None)
    verdicts = [claim.verdict for claim in run(given)[0]]
    assert "no int8 file was given" in verdicts and "no file of 4B's shape was given" in verdicts
    assert "no peer" in verdicts
    assert any("--openvino" in line for line in targets.absent_peers(given))


def test_a_scene_that_fails_leaves_the_others(given: argparse.Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Iterator[targets.Claim]:
        raise BenchError("no engine")

    monkeypatch.setitem(targets.SCENES, "int8", broken)
    claims, _ = run(given)
    assert [c.verdict for c in claims if c.row == "int8"] == ["failed: no engine"]
    assert any(claim.row == "prefill 4096" for claim in claims)


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
    make_random("--shape", "tiny", "--to", "q3e", model, "--quant", "q8")
    one = engines.own_engine(model).take(Work(8, 4, 1))
    many = engines.own_engine(model, isa="scalar").take(Work(8, 4, 1, sequences=3))
    for sample in (one, many):
        assert sample.prefill > 0 and sample.decode > 0 and sample.peak_bytes > 1 << 20
    assert one.bandwidth_share is not None and one.bandwidth_share > 0
