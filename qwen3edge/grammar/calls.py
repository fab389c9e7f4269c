"""A grammar of tool calls, for answers that must have some."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qwen3edge.errors import RequestError, shown
from qwen3edge.grammar.definition import Definition, quoted, schema_text
from qwen3edge.text.tools import TOOL_CALL, TOOL_CALLED


def forced_calls(functions: Mapping[str, Any], name: str | None, *, tags_are_tokens: bool) -> Definition:
    """Nothing but calls in Hermes' form, as Qwen3's templates show it, with arguments of the tools' own schemas.

    functions: parameters by name. name: exactly one call, of this one; None: at least one of any. tags_are_tokens: of
    the vocabulary, else text. Raises RequestError for a tool that is not there, or whose schema is none of an object.
    """
    if name is not None and name not in functions:
        raise RequestError(
            f"tool_choice: expected one of the tools {', '.join(map(shown, functions))}, found {shown(name)}"
        )
    called = functions if name is None else {name: functions[name]}
    tags = TOOL_CALL, TOOL_CALLED
    opens, closes = tags if tags_are_tokens else map(quoted, tags)
    rules = ["start: call" if name is not None else r'start: call ("\n" call)*']
    rules.append(rf'call: {opens} "\n" (' + " | ".join(f"call_{i}" for i in range(len(called))) + rf') "\n" {closes}')
    for i, (each, parameters) in enumerate(called.items()):
        begin = f'{{"name": {json.dumps(each, ensure_ascii=False)}, "arguments": '
        rules.append(f'call_{i}: {quoted(begin)} arguments_{i} "}}"')
        rules.append(f"arguments_{i}: %json {_schema(each, parameters)}")
    return Definition("tool_choice", "grammar", "\n".join(rules))


def _schema(name: str, parameters: object) -> str:
    """Of the arguments, which are an object; a tool without parameters takes none."""
    what = f"tools: the parameters of {shown(name)}"
    if not parameters:
        parameters = {"properties": {}, "additionalProperties": False}
    if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
        raise RequestError(f"{what}: expected a JSON schema of an object, found {shown(parameters)}")
    return schema_text(what, {"type": "object", **parameters})
