"""Tool calls as models write them, made up at random, and as Python's json module reads them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qwen3edge import _core

OPEN, CLOSE = "<tool_call>", "</tool_call>"
MOST_DEPTH, MOST_DIGITS = 96, 300
BLANKS = " \t\r\n"

NASTY = [
    "", " ", "\n", "a\n\nb\n", "\\", '"', '\\"', "{", "}", "}}", "{{[", "</tool_call>", "<tool_call>", "</parameter",
    "</parameter>", "<parameter=x>", "</function>", "</parameter>\n<param", "\n</parameter>\n\n</func", "</think>",
    "<think>", "\t\r\n", "\x00\x1f", "\x7f", "é", "中文", "👩‍👩‍👧",
    "\u2028", "\\u00e9", "null", "true", "12", "[1]", '{"a": 1}', "True", "<",
    "<<", "</", "if a < b:\n\tprint('x')  # ✓", "C:\\new\\table", "\n<", "&lt;", "'", "`",
]  # fmt: skip


@dataclass(frozen=True)
class Call:
    name: str
    arguments: dict[str, Any]


def any_text(rng: random.Random) -> str:
    return "".join(rng.choice(NASTY) for _ in range(rng.randint(1, 3)))


def any_value(rng: random.Random, depth: int = 2) -> Any:
    kind = rng.randrange(8 if depth else 6)
    if kind < 3:
        return any_text(rng)
    if kind == 3:
        return rng.choice([0, -1, 7, 10**20, 1.5, -2.5e-7, 1e22])
    if kind < 6:
        return rng.choice([True, False, None])
    if kind == 6:
        return [any_value(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    return {any_text(rng): any_value(rng, depth - 1) for _ in range(rng.randint(0, 3))}


def any_name(rng: random.Random) -> str:
    return "".join(
        rng.choice(["get", "_", "weather", ".", "-", "2", "ü", "中", "Do"]) for _ in range(rng.randint(1, 4))
    )


def any_call(rng: random.Random) -> Call:
    return Call(any_name(rng), {any_name(rng): any_value(rng) for _ in range(rng.randint(0, 4))})


def as_json(call: Call, rng: random.Random) -> str:
    """In any of the ways that mean the same."""
    ascii_only, separators = rng.random() < 0.5, rng.choice([None, (",", ":"), (" , ", " : ")])
    items: list[tuple[str, Any]] = [("name", call.name), ("arguments", call.arguments)]
    way = rng.randrange(6)
    if way == 0:
        items.reverse()
    elif way == 1:
        items[1] = ("arguments", json.dumps(call.arguments))
    elif way == 2 and not call.arguments:
        items = rng.choice([items[:1], [*items[:1], ("arguments", rng.choice([None, "", "null"]))]])
    elif way == 3:
        items.insert(rng.randint(0, 2), ("id", rng.choice([1, "x", None, [{}], {"name": "y"}])))
    text = json.dumps(dict(items), ensure_ascii=ascii_only, separators=separators, indent=rng.choice([None, None, 1]))
    return rng.choice(["\n", "", " "]) + text + rng.choice(["\n", "", "\n\n"])


def as_xml(call: Call) -> str:
    parameters = "".join(
        f"<parameter={key}>\n{as_text(value)}\n</parameter>\n" for key, value in call.arguments.items()
    )
    return f"\n<function={call.name}>\n{parameters}</function>\n"


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def ends_early(call: Call) -> bool:
    """Whether a value of it holds what ends a value."""
    end = re.compile(r"</parameter>\s*(<parameter=|</function>)")
    return any(end.search(as_text(value)) for value in call.arguments.values())


def declared(calls: list[Call]) -> _core.Tools:
    """Schemas that allow these values."""
    tools: dict[str, dict[str, list[str]]] = {}
    for call in calls:
        for key, value in call.arguments.items():
            tools.setdefault(call.name, {}).setdefault(key, []).append(_kind(value))
    return tools


def as_read(call: Call, tools: _core.Tools) -> Call:
    """What is left of an `as_xml`: where a string would do as well, a value is one, unless it is null."""

    def read(value: Any, kinds: Sequence[str]) -> Any:
        text = as_text(value)
        if "string" not in kinds:
            return value
        return None if "null" in kinds and text.strip() in ("null", "None") else text

    return Call(call.name, {key: read(value, tools[call.name][key]) for key, value in call.arguments.items()})


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "object"


def read_json_text(text: str) -> Any:
    """As strict as the core. Raises ValueError."""

    def refused(constant: str) -> Any:
        raise ValueError(constant)

    def number(digits: str) -> Any:
        if sum(map(str.isdigit, digits)) > MOST_DIGITS:
            raise ValueError(digits)
        return float(digits)

    try:
        value = json.loads(text.strip(BLANKS), parse_constant=refused, parse_int=number, parse_float=number)
    except RecursionError:
        raise ValueError("too deep") from None
    if _depth(value) > MOST_DEPTH:
        raise ValueError("too deep")
    return value


def _depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)


def read_json(body: str) -> Call | None:
    """A call as one JSON object; None if it is none."""
    try:
        value = read_json_text(body)
        outer = json.loads(body, object_pairs_hook=list)  # of the inner ones too; only the outer one's keys are used
        if not isinstance(value, dict) or not _once(outer):
            return None
        name, arguments = value.get("name"), value.get("arguments")
        if isinstance(arguments, str):
            arguments = read_json_text(arguments) if arguments.strip(BLANKS) else None
        if not isinstance(name, str) or not name or not isinstance(arguments, dict | None):
            return None
        return Call(name, arguments or {})
    except ValueError:
        return None


def _once(pairs: list[tuple[str, Any]]) -> bool:
    keys = [key for key, _ in pairs]
    return keys.count("name") <= 1 and keys.count("arguments") <= 1
