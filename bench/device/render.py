"""A page from results, never by hand: gpu-bench.md in docs, which is not there before a first run on a device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.tables import markdown_table, number


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a results.jsonl."""
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def page(lines: list[dict[str, Any]]) -> str:
    """Markdown: the machine, a table a step, what went wrong."""
    machine = next((line for line in lines if line["name"] == "device"), {})
    steps = dict.fromkeys(line["step"] for line in lines)
    bad = [line for line in lines if line["ok"] is False]
    text = [
        "# On a GPU",
        "",
        "Made by `python bench/device_check.py --render results.jsonl` from what "
        "`python bench/device_check.py --out OUT` wrote on",
        f"{machine.get('device', 'a device that did not answer')}, torch {machine.get('torch', '?')}, "
        f"triton {machine.get('triton', '?')}. A time is the median of 20 replays of a captured graph.",
        "What was expected was written down before anything had run (bench/device/predictions.py).",
        "",
        f"{sum(line['ok'] is True for line in lines)} checks passed, {len(bad)} did not.",
    ]
    for step in steps:
        own = [line for line in lines if line["step"] == step and line["name"] != "step"]
        ended = next((line["ended"] for line in lines if line["step"] == step and line["name"] == "step"), "ok")
        text += ["", f"## {step}" + ("" if ended == "ok" else f": {ended}"), ""]
        text += markdown_table([_row(line) for line in own]) if own else ["Nothing."]
    return "\n".join(text) + "\n"


def _row(line: dict[str, Any]) -> dict[str, str]:
    value = "" if line.get("value") is None else f"{number(line['value'])} {line['unit']}".strip()
    passed = {True: "yes", False: "**no**", None: ""}[line["ok"]]
    extra = {key: line[key] for key in line if key not in ("step", "name", "ok", "value", "unit", "predicted")}
    more = "; ".join(f"{key} {number(x) if isinstance(x, float) else x}" for key, x in extra.items())
    return {
        "": line["name"],
        "found": value,
        "expected": line.get("predicted", ""),
        "right": passed,
        "more": more[:200].replace("|", "/").replace("\n", " "),
    }
