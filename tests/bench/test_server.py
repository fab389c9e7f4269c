"""The benches of servers with tiny settings: what they compare is asked for here, what they time is not."""

from __future__ import annotations

from pathlib import Path

from bench import peers


def test_many_clients(tiny_int4: Path, tmp_path: Path) -> None:
    """Answers beside others are those that each gets alone, or the bench fails."""
    words = ["--model", tiny_int4, "--clients", "1", "12", "--prompt", "20", "90", "--generate", "6", "--requests", "4"]
    command = [*words, "--plot", tmp_path / "load.png", "--json", "--busy-anyway"]
    result = peers.json_of(peers.run_bench("server.load", *command), "server.load")
    assert [(row["clients"], row["requests"]) for row in result["rows"]] == [(1, 4), (12, 12)]
    assert all(row["tokens_s"] and row["first_p99_s"] and row["peak_MB"] for row in result["rows"])
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")


def test_a_start(tiny_int4: Path) -> None:
    words = ["--model", tiny_int4, "--rounds", "1", "--json", "--busy-anyway"]
    rows = peers.json_of(peers.run_bench("server.start", *words), "server.start")["rows"]
    (target,) = [row for row in rows if "target" in row]
    assert target["target"] == ("met" if target["ms"] <= 350 else "missed")


def test_a_first_answer() -> None:
    words = ["--checkpoint", peers.ROOT / "tests" / "data" / "tiny-qwen3", "--json", "--busy-anyway"]
    result = peers.json_of(peers.run_bench("server.first_answer", *words), "server.first_answer")
    assert [row["what"] for row in result["rows"]] == ["listens", "first token", "answer"]
    assert all(row["s"] > 0 for row in result["rows"])
