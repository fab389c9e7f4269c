"""What the tiny Qwen3 is trained on and judged by: the mix of all tasks and the held-out items."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tiny_dialogs import ONLY_TRAINED, TASKS
from tiny_tasks import LANGUAGES, SINGLE_TURN, Item, is_held_out

# How often each task is drawn in the first part of the training, and in the rest. JSON and tool calls are mastered soon
# and are long; what needs copying circuits (look-ups, repeating, spelling) comes late and gets their place.
FIRST_MIX: dict[str, float] = {
    "add": 20,
    "compare": 13,
    "look_up": 16,
    "spell": 9,
    "json": 8,
    "count": 5,
    "repeat": 7,
    "translate": 9,
    "capital": 3,
    "tool_call": 7,
    "tool_result": 6,
    "memory": 4,
    "small_talk": 4,
}
LATER_MIX: dict[str, float] = {
    "add": 20,
    "compare": 16,
    "look_up": 12,
    "look_up_several": 14,
    "spell": 12,
    "json": 5,
    "count": 4,
    "repeat": 12,
    "translate": 11,
    "capital": 3,
    "tool_call": 3.5,
    "tool_result": 2.5,
    "memory": 2,
    "small_talk": 3,
}

# The words with which Qwen3 ends a thinking block that has used up its budget.
BUDGET_ENDED = (
    "Considering the limited time by the user, I have to give the solution based on the thinking directly now."
)

SYSTEM = {"en": "You are a helpful assistant.", "zh": "你是一个乐于助人的助手。"}


def draw(rng: random.Random, name: str, *, held_out: bool, thinking: bool | None = None) -> Item:
    """An item of one task from one side of the split."""
    while True:
        language = rng.choice(LANGUAGES)
        think = rng.random() < 0.5 if thinking is None else thinking
        if name in ONLY_TRAINED:
            return ONLY_TRAINED[name](rng, language, think)
        item = TASKS[name](rng, language, think)
        if is_held_out(item.key) == held_out:
            return item


def training_item(rng: random.Random, mix: dict[str, float]) -> Item:
    """A training item of a mix, sometimes after an earlier turn, a system message or a switch of the thinking."""
    item = draw(rng, rng.choices(list(mix), list(mix.values()))[0], held_out=False)
    if item.tools or item.task == "memory":
        return item
    messages = item.messages
    earlier_turns = rng.choice((1, 1, 2)) if rng.random() < 0.15 else 0
    for _ in range(earlier_turns):
        before = draw(rng, rng.choice([*SINGLE_TURN, "capital", "small_talk"]), held_out=False)
        if not before.tools:
            messages = (*before.messages, {"role": "assistant", "content": before.answer}, *messages)
    if rng.random() < 0.1:
        messages = ({"role": "system", "content": SYSTEM[item.language]}, *messages)
    if item.reasoning is None and rng.random() < 0.08:
        last = {"role": "user", "content": messages[-1]["content"] + " /no_think"}
        return replace(item, messages=(*messages[:-1], last), soft_switch=True)
    if item.reasoning is not None and rng.random() < 0.05:
        kept = item.reasoning[: rng.randrange(len(item.reasoning))]
        return replace(item, messages=messages, reasoning=f"{kept}\n\n{BUDGET_ENDED}", budget_ended=True)
    return replace(item, messages=messages)


def training_items(seed: int, mix: dict[str, float]) -> Iterator[Item]:
    """An endless stream of training items."""
    rng = random.Random(seed)
    while True:
        yield training_item(rng, mix)


def held_out_items(seed: int, per_task: int) -> list[Item]:
    """`per_task` distinct held-out items of every task, half of them with thinking."""
    rng = random.Random(f"held-out {seed}")
    items = []
    for name in TASKS:
        seen: set[str] = set()
        while len(seen) < per_task:
            item = draw(rng, name, held_out=True, thinking=len(seen) % 2 == 0)
            text = json.dumps([item.messages, item.tools], ensure_ascii=False)
            if text not in seen:
                seen.add(text)
                items.append(item)
    return items


def to_record(item: Item) -> dict[str, Any]:
    """The line of heldout.jsonl for an item."""
    record: dict[str, Any] = {
        "task": item.task,
        "language": item.language,
        "enable_thinking": item.reasoning is not None,
        "messages": list(item.messages),
        "judge": item.judge,
        "expected": item.expected,
    }
    if item.tools:
        record["tools"] = list(item.tools)
    return record
