"""The tools of a client: functions, which a model may call, and others, which are left out and named in a header."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

LEFT_OUT = "x-tools-left-out"
_INVISIBLE = re.compile(r"[^!-~]+")
_MOST_CHARACTERS = 1000


def own_tools(tools: Sequence[Mapping[str, Any]] | None) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The functions among a client's tools, and the types or names of those that are none, which a model here cannot
    call: some clients always send them along.
    """
    functions, others = [], []
    for tool in tools or ():
        if tool.get("type") in (None, "function"):
            functions.append(tool)
        else:
            others.append(str(tool["type"])[:60])
    return functions, others


def left_out(others: Sequence[str]) -> dict[str, str]:
    """Headers of a response. others: types or names of tools, of which a header takes visible characters of ASCII."""
    names = ", ".join(_INVISIBLE.sub("?", name) for name in others)
    return {LEFT_OUT: names[:_MOST_CHARACTERS]} if others else {}
