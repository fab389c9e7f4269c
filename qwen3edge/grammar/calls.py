"""Grammars of tool calls: of answers that must have some, and of strict functions wherever one is called."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from qwen3edge.errors import RequestError, shown
from qwen3edge.grammar.definition import Definition, literal, quoted, require_object, schema_text, terminal
from qwen3edge.grammar.xml_calls import XML_BEGIN, xml_call
from qwen3edge.text.tools import TOOL_CALL, TOOL_CALLED

_JSON_BEGIN = '\n{"name": "'


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
    terminals: dict[str, str] = {}
    rules = [
        "start: call" if name is not None else r'start: call ("\n" call)*',
        rf'call: {opens} {_begin(in_xml)} held "\n" {closes}',
        *_held(called, in_xml, terminals),
    ]
    return Definition("tool_choice", "grammar", "\n".join(rules), terminals)


def strict_calls(functions: Mapping[str, Any], strict: Collection[str], *, in_xml: bool = False) -> Definition:
    """Of the calls in an answer that is free besides: those of strict functions have arguments of their schemas, any
    other is free from its name on. All begin as the model's template shows them, between tags that are tokens.

    functions: parameters by name. strict: some of the names. in_xml: as of `forced_calls`. The grammar reads calls one
    after the other, of one that is free as much as tells that it is. Raises RequestError for a schema that is none of
    an object or cannot be held to.
    """
    terminals: dict[str, str] = {}
    others = [name for name in functions if name not in strict]
    rules = [
        "start: call*",
        rf'call: {TOOL_CALL} {_begin(in_xml)} (held "\n" {TOOL_CALLED} | OTHER)',
        *_held({name: functions[name] for name in strict}, in_xml, terminals),
        f"OTHER: {_other(strict, others, in_xml)}",
    ]
    return Definition("tools, strict", "grammar", "\n".join(rules), terminals, within_calls=True)


def _begin(in_xml: bool) -> str:
    """What stands between the tag and a name."""
    return quoted(XML_BEGIN if in_xml else _JSON_BEGIN)


def _held(functions: Mapping[str, Any], in_xml: bool, terminals: dict[str, str]) -> list[str]:
    """The rules of `held`: what follows in a call of one of these functions."""
    rules = ["held: " + " | ".join(f"call_{i}" for i in range(len(functions)))]
    for i, (name, parameters) in enumerate(functions.items()):
        rules += xml_call(i, name, parameters, terminals) if in_xml else _json_call(i, name, parameters)
    return rules


def _other(strict: Collection[str], others: Collection[str], in_xml: bool) -> str:
    """What follows in a call of any other function. No name is written in two ways: JSON's escapes stand in those alone
    that cannot do without.
    """
    end, names = (">", ["[^<>\n]+"]) if in_xml else ('"', [r'[^"\\]+'])
    if not in_xml:
        names += [literal(said) for name in others if (said := _in_json(name)) != name]
    any_name, held = "|".join(names), "|".join(map(literal, strict))
    return f"({terminal(f'(?:{any_name}){end}(?s:.*)')} & ~{terminal(f'(?:{held}){end}(?s:.*)')})"


def _json_call(number: int, name: str, parameters: object) -> list[str]:
    """The rules of `call_{number}`. A tool without parameters takes none."""
    what = f"tools: the parameters of {shown(name)}"
    schema = require_object(what, parameters or {"properties": {}, "additionalProperties": False})
    begin = f'{_in_json(name)}", "arguments": '
    return [
        f'call_{number}: {quoted(begin)} arguments_{number} "}}"',
        f"arguments_{number}: %json {schema_text(what, {'type': 'object', **schema})}",
    ]


def _in_json(name: str) -> str:
    """As it stands between the quotes."""
    return json.dumps(name, ensure_ascii=False)[1:-1]
