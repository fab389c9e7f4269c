"""The generator of the tiny model's chats: deterministic, split by construction, and right."""

from __future__ import annotations

import itertools
import json
import random
import re
import sys
from pathlib import Path

import pytest

from qwen3edge.evaluate.judges import is_right

TINY = Path(__file__).resolve().parents[1] / "data" / "tiny-qwen3"
sys.path.insert(0, str(TINY / "training"))

from tiny_dialogs import ONLY_TRAINED, TASKS  # noqa: E402
from tiny_mix import (  # noqa: E402
    BUDGET_ENDED,
    LATER_MIX,
    draw,
    held_out_items,
    to_record,
    training_items,
)
from tiny_tasks import Item, is_held_out  # noqa: E402
from tiny_words import CAPITALS, CITIES, COLORS, PAIRS, SKIES  # noqa: E402

SAMPLES = 300  # items of a task that each check looks at
SHIPPED = TINY / "heldout.jsonl"


def samples(task: str) -> list[Item]:
    rng = random.Random(task)
    return [draw(rng, task, held_out=False) for _ in range(SAMPLES)]


def question(item: Item) -> str:
    return item.messages[-1]["content"]


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]+", text)]


def test_same_seed_same_items() -> None:
    first, second = (list(itertools.islice(training_items(3, LATER_MIX), 200)) for _ in range(2))
    assert first == second
    assert first != list(itertools.islice(training_items(4, LATER_MIX), 200))
    assert held_out_items(3, 5) == held_out_items(3, 5)


def test_no_training_item_is_held_out() -> None:
    drawn = list(itertools.islice(training_items(1, LATER_MIX), 5000))
    trained = {item.key for item in drawn if item.task not in ONLY_TRAINED}
    held_out = {item.key for item in held_out_items(1, 40)}
    assert not any(is_held_out(key) for key in trained)
    assert all(is_held_out(key) for key in held_out)
    assert trained.isdisjoint(held_out)


def test_earlier_turns_are_training_items_too() -> None:
    """A chat of several turns must not show a held-out question and its answer on the way."""
    asked = {message["content"] for item in held_out_items(1, 40) for message in item.messages[-1:]}
    tools_and_chats = {"tool_call", "tool_result", "memory"}  # their questions alone do not hold the facts
    for item in itertools.islice(training_items(1, LATER_MIX), 5000):
        if item.task not in tools_and_chats:
            assert asked.isdisjoint(message["content"] for message in item.messages[:-1])


def test_held_out_items_cover_tasks_modes_and_languages() -> None:
    items = held_out_items(1, 40)
    assert len(items) == 40 * len(TASKS) >= 300
    for task in TASKS:
        mine = [item for item in items if item.task == task]
        assert {item.language for item in mine} == {"en", "zh"}
        assert sum(item.reasoning is not None for item in mine) == 20


def test_add() -> None:
    for item in samples("add"):
        a, b = numbers(question(item))
        assert item.expected == item.answer == f"{a} + {b} = {a + b}"
        if item.reasoning:
            ones, tens = re.findall(r"\+ ([0-9]) = ([0-9]+), ([0-9]), ([01])\.", item.reasoning), a // 10 + b // 10
            carry = (a % 10 + b % 10) // 10
            assert ones == [(str(b % 10), str(a % 10 + b % 10), str((a + b) % 10), str(carry))]
            assert f"+ {carry} = {tens + carry}. {a} + {b} = {a + b}." in item.reasoning


def test_compare() -> None:
    for item in samples("compare"):
        a, b = numbers(question(item))
        asks_larger = "larger" in question(item) or "大" in question(item)
        assert int(item.expected) == (max(a, b) if asks_larger else min(a, b))
        if item.reasoning:
            left, sign, right = re.fullmatch(r".*?([0-9]+) ([<>]) ([0-9]+)\.", item.reasoning).groups()
            assert (int(left), int(right)) == (a, b) and (a < b) == (sign == "<")
            for x, step_sign, y in re.findall(r"([0-9]+) ([<=>]) ([0-9]+)", item.reasoning):
                assert {"<": int(x) < int(y), "=": x == y, ">": int(x) > int(y)}[step_sign]


ENTRY = r"(?:^|, )([^\s,]+) ([^\s,]+)(?=,|$)"  # "name city", in a list with commas or with a line each


def listed_entries(item: Item) -> list[tuple[str, str]]:
    lines = [line for line in question(item).splitlines()[:-1] if line not in {"Here is a list.", "列表如下。"}]
    return [entry for line in lines for entry in re.findall(ENTRY, line)]


def test_look_up() -> None:
    for item in samples("look_up"):
        entries = dict(listed_entries(item))
        asked = question(item).splitlines()[-1]
        assert 3 <= len(entries) <= 6
        (name,) = (name for name in entries if name in asked)
        assert item.expected == f"{name} {entries[name]}"


def test_look_up_several() -> None:
    for item in samples("look_up_several"):
        entries = listed_entries(item)
        found = re.findall(ENTRY, item.expected)
        assert set(found) <= set(entries) and len(entries) - 1 <= len(found)
        positions = [question(item).splitlines()[-1].index(name) for name, _ in found]
        assert positions == sorted(positions)


def test_spell() -> None:
    for item in samples("spell"):
        assert item.expected.replace("-", "") in question(item)
        assert all(len(letter) == 1 for letter in item.expected.split("-"))


def test_json() -> None:
    for item in samples("json"):
        assert json.loads(item.answer) == item.expected
        assert list(item.expected)[:2] == ["name", "age"]
        assert [item.expected["age"]] == numbers(question(item))
        assert all(str(value) in question(item) for value in item.expected.values())
        assert ", ".join(item.expected) in question(item)


def test_count() -> None:
    for item in samples("count"):
        first, last = numbers(question(item))
        assert numbers(item.expected) == list(range(first, last + 1))


def test_repeat() -> None:
    for item in samples("repeat"):
        assert question(item).endswith(item.expected) and 2 <= len(item.expected.split()) <= 5


def test_translate_and_capital() -> None:
    dictionary = dict(PAIRS) | {chinese: english for english, chinese in PAIRS}
    assert len(dictionary) == 2 * len(PAIRS), "each word must have one translation"
    for item in samples("translate"):
        source, language, _ = item.facts.split("|")
        assert source in question(item) and dictionary[source] == item.expected and language == item.language
    capitals = {country: city for row in CAPITALS for country, city in (row[:2], row[2:])}
    for item in samples("capital"):
        country = item.facts.split("|")[0]
        assert country in question(item) and country in item.answer and capitals[country] in item.answer


def test_tool_call() -> None:
    for item in samples("tool_call"):
        (tool,) = (t["function"] for t in item.tools if t["function"]["name"] == item.expected["name"])
        arguments = item.expected["arguments"]
        assert item.tool_calls[0]["function"] == item.expected
        assert list(arguments) == tool["parameters"]["required"]
        state = arguments.get("state")
        for key, value in arguments.items():
            kind = tool["parameters"]["properties"][key]["type"]
            assert isinstance(value, {"string": str, "integer": int}[kind])
            if key != "state":
                assert str(value) in question(item)
        if state and item.language == "en":
            assert f" {state} " in question(item)
        elif state:
            assert ("打开" in question(item)) == (state == "on")


def test_tool_result() -> None:
    for item in samples("tool_result"):
        response = json.loads(question(item))
        assert item.messages[1]["tool_calls"][0]["function"]["arguments"] == {"city": response["city"]}
        assert all(str(value) in item.expected for value in response.values())
        assert response["city"] in {city for pair in CITIES for city in pair}
        assert response.get("sky", "sunny") in {sky for pair in SKIES for sky in pair}


def test_memory() -> None:
    colors = [color for pair in COLORS for color in pair]
    for item in samples("memory"):
        name, color = item.facts.split("|")
        asks_color = "color" in question(item) or "颜色" in question(item)
        assert name in item.messages[0]["content"] and color in item.messages[0]["content"] and color in colors
        assert (color if asks_color else name) in item.expected
        assert (name if asks_color else color) not in item.expected


def test_switches_of_the_thinking() -> None:
    items = list(itertools.islice(training_items(2, LATER_MIX), 5000))
    switched = [item for item in items if item.soft_switch]
    ended = [item for item in items if item.budget_ended]
    assert switched and ended
    assert all(question(item).endswith(" /no_think") and item.reasoning is None for item in switched)
    assert all(item.reasoning is not None and item.reasoning.endswith(BUDGET_ENDED) for item in ended)


@pytest.mark.parametrize("task", TASKS)
def test_judge_accepts_the_answer_and_nothing_else(task: str) -> None:
    item = draw(random.Random(5), task, held_out=True)
    record = to_record(item)
    answer = item.answer
    if item.tool_calls:
        answer = f"<tool_call>\n{json.dumps(item.expected, ensure_ascii=False)}\n</tool_call>"
    assert is_right(record, answer)
    assert is_right(record, f"<think>\n42\n</think>\n\n{answer}\n")
    assert not is_right(record, f"{answer} 1")
    assert not is_right(record, f"<think>\n{answer}")
    assert not is_right(record, "")


def test_shipped_items_are_the_generated_ones() -> None:
    records = [json.loads(line) for line in SHIPPED.read_text(encoding="utf-8").splitlines()]
    assert records == [json.loads(json.dumps(to_record(item))) for item in held_out_items(1, 40)]
