"""Whether an answer in words is the expected one."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from qwen3edge import _core
from qwen3edge.text.tools import declared_types

JUDGES = ("exact", "json", "tool_call")


def is_right(record: Mapping[str, Any], text: str) -> bool:
    """Judges generated text (special tokens such as `<|im_end|>` already removed) by record["judge"].

    "exact": the same text but for white space at its ends; "json": the same value; "tool_call": that value in
    `<tool_call>` marks, or the same call in XML, whose values have the types of record["tools"]. What stands before
    `</think>` does not count.
    """
    answer = text.rpartition("</think>")[2].strip()
    if record["judge"] == "exact":
        return bool(answer == record["expected"])
    if record["judge"] == "tool_call":
        if not (answer.startswith("<tool_call>") and answer.endswith("</tool_call>")):
            return False
        inner = answer.removeprefix("<tool_call>").removesuffix("</tool_call>")
        if inner.lstrip().startswith("<function="):
            return bool(_only_call(record, answer) == record["expected"])
        answer = inner
    try:
        return bool(json.loads(answer) == record["expected"])
    except ValueError:
        return False


def _only_call(record: Mapping[str, Any], text: str) -> dict[str, Any] | None:
    """What a text that is one call calls, as answers are read; None for any other text."""
    reader = _core.AnswerText(_bytes(), tools=declared_types(record.get("tools")))
    pieces = [piece for byte in text.encode() for piece in reader.push(byte)] + reader.finish()
    names = [piece for piece, what in pieces if what == "begun"]
    if len(names) != 1 or reader.tool_calls != 1 or any(isinstance(what, bool) for _, what in pieces):
        return None
    return {"name": names[0], "arguments": json.loads("".join(text for text, what in pieces if what == "arguments"))}


@functools.cache
def _bytes() -> _core.Bpe:
    """A vocabulary of single bytes in GPT-2's alphabet, where each is its own id."""
    seen = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return _core.Bpe([chr(byte if byte in seen else next(others)) for byte in range(256)], [1] * 256, [])
