"""A grammar of tool calls, for answers that must have some."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qwen3edge.errors import RequestError, shown
from qwen3edge.grammar.definition import Definition, quoted, require_object, schema_text
from qwen3edge.grammar.xml_calls import xml_call
from qwen3edge.text.tools import TOOL_CALL, TOOL_CALLED


def forced_calls(
    functions: Mapping[str, Any], name: str | None, *, tags_are_tokens: bool, in_xml: bool = False
) -> Definition:
    """Nothing but calls as Qwen's templates show them, with arguments of the tools' own schemas.

    functions: parameters by name. name: exactly one call, of this one; None: at least one of any. tags_are_tokens: of
    the vocabulary, else text. in_xml: as Qwen3-Coder's template has them, else Hermes' JSON. Raises RequestError for a
    tool that is not there, or whose schema is none of an object or cannot be held to.
    """
    if name is not None and name not in functions:
        raise RequestError(
            f"tool_choice: expected one of the tools {', '.join(map(shown, functions))}, found {shown(name)}"
        )
    if not functions:
        raise RequestError("tool_choice: expected a tool that is a function, found none")
    called = functions if name is None else {name: functions[name]}
    tags = TOOL_CALL, TOOL_CALLED
    opens, closes = tags if tags_are_tokens else map(quoted, tags)
    rules = ["start: call" if name is not None else r'start: call ("\n" call)*']
    rules.append(rf'call: {opens} "\n" (' + " | ".join(f"call_{i}" for i in range(len(called))) + rf') "\n" {closes}')
    terminals: dict[str, str] = {}
    for i, (each, parameters) in enumerate(called.items()):
        rules += xml_call(i, each, parameters, terminals) if in_xml else _json_call(i, each, parameters)
    return Definition("tool_choice", "grammar", "\n".join(rules), terminals)


def _json_call(number: int, name: str, parameters: object) -> list[str]:
    """The rules of `call_{number}`. A tool without parameters takes none."""
    what = f"tools: the parameters of {shown(name)}"
    schema = require_object(what, parameters or {"properties": {}, "additionalProperties": False})
    begin = f'{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": '
    return [
        f'call_{number}: {quoted(begin)} arguments_{number} "}}"',
        f"arguments_{number}: %json {schema_text(what, {'type': 'object', **schema})}",
    ]
