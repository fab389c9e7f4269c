"""Items with one right answer: multiple choice by likelihood, all others by a greedy answer and a judge."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qwen3edge.errors import RequestError
from qwen3edge.evaluate.divergence import log_softmax
from qwen3edge.evaluate.judges import JUDGES, is_right
from qwen3edge.generation.model import Model

MOST_ANSWER_TOKENS = 512


@dataclass(frozen=True)
class TaskResult:
    """One item, judged."""

    task: str  # the item's `task`, or ""
    right: bool
    answer: str  # the text, or the choice


def run_items(
    model: Model,
    items: Sequence[Mapping[str, Any]],
    *,
    max_tokens: int = MOST_ANSWER_TOKENS,
    each: Callable[[TaskResult], None] | None = None,
) -> list[TaskResult]:
    """An item has `messages` (or `prompt`, a user's message or, with choices, text to be continued) and either
    `expected` with an optional `judge` ("exact" by default, "json", "tool_call"), or `choices` with `answer`, the index
    or the letter of the right one. `enable_thinking` (false) and `tools` are passed to the chat template.

    A choice is taken by the mean log likelihood of its tokens after the prompt. Raises RequestError for other items,
    before anything is computed.
    """
    for number, item in enumerate(items, 1):
        _check(item, number)
    results = []
    for item in items:
        results.append(_choose(model, item) if "choices" in item else _answer(model, item, max_tokens))
        if each is not None:
            each(results[-1])
    return results


def accuracy_by_task(results: Sequence[TaskResult]) -> dict[str, dict[str, Any]]:
    """By the items' `task`, and "all"."""
    groups: dict[str, list[bool]] = {}
    for result in results:
        groups.setdefault(result.task or "other", []).append(result.right)
    groups["all"] = [result.right for result in results]
    return {
        name: {"items": len(right), "right": sum(right), "accuracy": sum(right) / len(right)}
        for name, right in groups.items()
        if right
    }


def _check(item: Mapping[str, Any], number: int) -> None:
    where = f"item {number}"
    if not isinstance(item.get("messages"), list) and not isinstance(item.get("prompt"), str):
        raise RequestError(f"{where}: expected `messages` or a `prompt`, found {sorted(item)}")
    if "choices" in item:
        choices = item["choices"]
        if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) and c for c in choices):
            raise RequestError(f"{where}: expected at least two texts as `choices`, found {choices!r:.80}")
        _right_choice(item, where)
    elif "expected" not in item or item.get("judge", "exact") not in JUDGES:
        raise RequestError(f"{where}: expected `choices`, or `expected` and a judge of {', '.join(JUDGES)}")


def _right_choice(item: Mapping[str, Any], where: str = "item") -> int:
    answer, count = item.get("answer"), len(item["choices"])
    if isinstance(answer, str) and len(answer) == 1 and answer.upper() in string.ascii_uppercase:
        answer = string.ascii_uppercase.index(answer.upper())
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < count:
        raise RequestError(f"{where}: expected `answer` as one of {count} choices, found {item.get('answer')!r:.60}")
    return answer


def _answer(model: Model, item: Mapping[str, Any], max_tokens: int) -> TaskResult:
    answer = model.generate(
        item["messages"] if "messages" in item else item["prompt"],
        tools=item.get("tools"),
        tool_calls=False,  # judges read the text
        thinking=bool(item.get("enable_thinking", False)),
        max_tokens=max_tokens,
        temperature=0,
    )
    answer.read()
    record = {"judge": item.get("judge", "exact"), "expected": item["expected"]}
    return TaskResult(str(item.get("task", "")), is_right(record, answer.content), answer.content)


def _choose(model: Model, item: Mapping[str, Any]) -> TaskResult:
    prompt_builder = model.prompt_builder
    if "messages" in item:
        thinking = bool(item.get("enable_thinking", False))
        prompt = prompt_builder.prompt(item["messages"], thinking=thinking, tools=item.get("tools")).tokens
    else:
        prompt = tuple(prompt_builder.tokenizer.encode(item["prompt"]))
    scores = []
    for choice in item["choices"]:
        tokens = tuple(prompt_builder.tokenizer.encode(choice))
        if not prompt or not tokens:
            raise RequestError(f"expected a prompt and a choice of at least one token, found {choice!r:.60}")
        rows = log_softmax(model.logits((*prompt, *tokens)[:-1])[len(prompt) - 1 :])
        scores.append(float(rows[np.arange(len(tokens)), tokens].mean()))
    best = int(np.argmax(scores))
    return TaskResult(str(item.get("task", "")), best == _right_choice(item), item["choices"][best])
