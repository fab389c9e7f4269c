"""Whether an answer in words is the expected one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

JUDGES = ("exact", "json", "tool_call")


def is_right(record: Mapping[str, Any], text: str) -> bool:
    """Judges generated text (special tokens such as `<|im_end|>` already removed) by record["judge"].

    "exact": the same text but for white space at its ends; "json": the same value; "tool_call": that value in
    `<tool_call>` marks. What stands before `</think>` does not count.
    """
    answer = text.rpartition("</think>")[2].strip()
    if record["judge"] == "exact":
        return bool(answer == record["expected"])
    if record["judge"] == "tool_call":
        if not (answer.startswith("<tool_call>") and answer.endswith("</tool_call>")):
            return False
        answer = answer.removeprefix("<tool_call>").removesuffix("</tool_call>")
    try:
        return bool(json.loads(answer) == record["expected"])
    except ValueError:
        return False
