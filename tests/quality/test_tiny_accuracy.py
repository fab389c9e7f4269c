"""The shipped model on its shipped held-out items, answered greedily through the API that users call."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import qwen3edge
from tests.reference.chats import AT_ONCE, Answers, Record, answer_greedily, read_records

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "decisions" / "block-formats.md"
CONTEXT = 1024

LEAST_BF16 = 0.95
INT8_WITHIN = 0.005  # of bf16's accuracy, either way: 2 of the 440 items
INT4_WITHIN = 0.02  # below bf16's accuracy


@pytest.fixture(scope="module")
def records(tiny_model_path: Path) -> list[Record]:
    return read_records(tiny_model_path / "heldout.jsonl")


@pytest.fixture(scope="module")
def answers(records: list[Record], tiny_q3e: Callable[[str], Path]) -> dict[str, Answers]:
    """By recipe; one thread, as more give the same answers."""
    found = {}
    for quant, kv in (("bf16", "bf16"), ("int8", "int8"), ("int4", "int8")):
        with qwen3edge.load(tiny_q3e(quant), context=CONTEXT, threads=1, kv=kv, sequences=AT_ONCE) as model:
            found[quant] = answer_greedily(model, records)
        print(f"{quant}: {sum(found[quant].right)} of {len(records)} right")
    return found


def test_bf16(answers: dict[str, Answers]) -> None:
    assert answers["bf16"].accuracy >= LEAST_BF16


def test_int8_is_as_bf16(answers: dict[str, Answers]) -> None:
    assert abs(answers["int8"].accuracy - answers["bf16"].accuracy) <= INT8_WITHIN


def test_int4_is_near_bf16(answers: dict[str, Answers]) -> None:
    assert answers["int4"].accuracy >= answers["bf16"].accuracy - INT4_WITHIN


def test_every_kind_of_answer_is_judged(answers: dict[str, Answers], records: list[Record]) -> None:
    judges = {record["judge"] for record, right in zip(records, answers["bf16"].right, strict=True) if right}
    assert judges == {"exact", "json", "tool_call"}


def test_wrong_answers_are_not_counted(records: list[Record], tiny_q3e: Callable[[str], Path]) -> None:
    """Each item judged by the expectation of another task."""
    chosen = records[::40]
    swapped = [{**a, "expected": b["expected"]} for a, b in zip(chosen, chosen[1:] + chosen[:1], strict=True)]
    with qwen3edge.load(tiny_q3e("int8"), context=CONTEXT, threads=1) as model:
        assert answer_greedily(model, chosen).accuracy > 0.5
        assert answer_greedily(model, swapped).accuracy == 0


def test_documented_accuracy(answers: dict[str, Answers]) -> None:
    """docs/decisions/block-formats.md names these figures."""
    text = DOCUMENT.read_text(encoding="utf-8")
    stated = {"bf16": re.search(r"bf16 .*answers ([\d.]+) % right", text)}
    for quant in ("int8", "int4"):
        stated[quant] = re.search(rf"^\| {quant}\b.*\| ([\d.]+) % \|$", text, re.MULTILINE)
    for quant, match in stated.items():
        assert match, f"no figure for {quant}"
        assert match[1] == f"{100 * answers[quant].accuracy:.1f}", f"{quant}: the page is stale"
