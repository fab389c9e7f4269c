"""The benches of many sessions with tiny settings: what they count is asked for here, what they time is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bench import peers
from bench.sessions.ledger import common_length
from bench.sessions.scenes import SCENES

pytestmark = pytest.mark.usefixtures("one_core")

LOOPS = ("tool loop that thinks", "tool loop that does not think")


def run(module: str, *words: object) -> dict[str, Any]:
    return peers.json_of(peers.run_bench(f"sessions.{module}", *words, "--json", "--busy-anyway"), module)


def test_common_length() -> None:
    assert [common_length([1, 2, 3], other) for other in ([], [2], [1, 2], [1, 2, 4], [1, 2, 3, 4])] == [0, 0, 2, 2, 3]


def reuse(model: Path, *scenes: str) -> dict[str, dict[str, Any]]:
    """Rows by scene; all bars are met."""
    result = run("reuse", "--model", model, *(word for scene in scenes for word in ("--scene", scene)))
    judged = [note for note in result["notes"] if note.endswith((": met", ": missed"))]
    assert not [note for note in judged if "missed" in note]
    for scene in set(LOOPS) & set(scenes):
        assert any(scene in note for note in judged), "a tool loop is held to a bar"
    return {row["scene"]: row for row in result["rows"]}


def test_all_is_found_again_that_can_be(tiny_int4: Path) -> None:
    scenes = ("chat that thinks", *LOOPS, "regenerate", "edit of an earlier turn")
    rows = reuse(tiny_int4, *scenes)
    assert set(rows) == set(scenes) and not any(row["more"] for row in rows.values())
    assert rows[LOOPS[0]]["of_all"] == "100.0 %"


@pytest.mark.slow
def test_all_scenes(tiny_int4: Path) -> None:
    rows = reuse(tiny_int4)
    assert list(rows) == [scene.name for scene in SCENES]
    assert not {scene for scene, row in rows.items() if row["more"]}


def test_sessions_beside_the_bare_core(tiny_int4: Path) -> None:
    words = ["--model", tiny_int4, "--sessions", "1", "3", "--prompt", "70", "--generate", "8", "--rounds", "1"]
    rows = run("throughput", *words)["rows"]
    assert [(row["sessions"], row["of_one"]) for row in rows][::2] == [(1, "1.00")] * 2
    assert all(row["of_core"] for row in rows)
    assert all(row["verdict"] in ("met 0.98", "missed 0.98") for row in rows if row["sessions"] == 1)
    assert all(row["verdict"] in ("met 0.95", "missed 0.95") for row in rows if row["sessions"] == 3)


def test_drafts(tiny_int4: Path) -> None:
    rows = run("drafts", "--model", tiny_int4, "--generate", "60", "--rounds", "1")["rows"]
    assert [row["request"] for row in rows] == ["edit", "quotes", "JSON", "free"]
    assert all(row["ratio"] for row in rows)


def test_masks_of_grammars(tiny_int4: Path) -> None:
    found = run("masks", "--model", tiny_int4, "--generate", "4", "--rounds", "1")
    names = ["small object", "enums", "bounded strings", "nested arrays", "any JSON", "tool call", "strict tool call"]
    assert [row["schema"] for row in found["rows"]] == names
    assert all(row["masks"] > 20 and row["of_step"] and row["worst_of_step"] for row in found["rows"])
    assert re.search("(met|missed)$", found["notes"][1]) and found["notes"][2].startswith("worst: ")


def test_a_long_prompt_beside_answers(tiny_int4: Path) -> None:
    words = ["--model", tiny_int4, "--decoding", "2", "--prompt", "300", "--rounds", "1"]
    (row,) = run("gaps", *words)["rows"]
    assert row["gap"] in ("met", "missed") and row["prompt_s"] and row["alone_s"]


def test_the_first_token_of_a_long_chat(tiny_int4: Path) -> None:
    rows = run("first_token", "--model", tiny_int4, "--tokens", "1500", "--rounds", "1")["rows"]
    assert len(rows) == 2 and all(row["computed"] < row["prompt"] / 3 for row in rows)


@pytest.mark.parametrize("sessions", [1, 32])
def test_a_beginning_is_held_once(tiny_int4: Path, sessions: int) -> None:
    (row,) = run("pages", "--model", tiny_int4, "--sessions", sessions)["rows"]
    assert row["held"] == row["least"] == 31 + sessions
    assert row["apart"] == 32 * sessions
