"""Tool calls in XML as a grammar: each value what its schema allows, once it is read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qwen3edge.errors import RequestError, shown
from qwen3edge.grammar.definition import quoted, require_object, schema_text
from qwen3edge.grammar.xml_text import XmlText
from qwen3edge.text.tools import declared_kinds

XML_BEGIN = "\n<function="
"""What stands between the tag of a call and a name."""

_END = "\n</parameter>\n"
_NOTES = {"title", "description", "default", "examples", "deprecated", "$comment", "$schema", "strict"}
_HELD = {"type", "properties", "required", "additionalProperties", "$defs", "definitions", *_NOTES}
_DEFINITIONS = ("$defs", "definitions")
_NOT_IN_NAMES = ("<", ">", "\n")


def xml_call(number: int, name: str, parameters: object, terminals: dict[str, str]) -> list[str]:
    """The rules of `call_{number}`, from its name on: parameters in the order of their schema, or left out where they
    are not required.
    terminals: gets those of texts, as `Definition` has them.

    Raises RequestError for what of the schema such a call cannot be held to.
    """
    what = f"tools: the parameters of {shown(name)}"
    schema = require_object(what, parameters or {})
    _require_name("tools", name)
    for key in schema:
        if key not in _HELD:
            raise RequestError(f"{what}: expected what calls in XML can be held to, found {shown(key)}")
    _require_pointers(what, schema)
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, Mapping):
        raise RequestError(f"{what}: expected an object of properties, found {shown(properties)}")
    if (
        not isinstance(required, Sequence)
        or isinstance(required, str)
        or not all(key in properties for key in required)
    ):
        raise RequestError(f"{what}: expected a list of its properties' names as required, found {shown(required)}")
    rules, parts = [], [quoted(f"{name}>\n")]
    for i, (key, inner) in enumerate(properties.items()):
        _require_name(what, key)
        rule = f"parameter_{number}_{i}"
        if inner is False and key not in required:
            continue
        parts.append(rule if key in required else f"{rule}?")
        rules += [f"{rule}: {quoted(f'<parameter={key}>' + chr(10))} value_{number}_{i}"]
        rules += _value(f"{what}, {shown(key)}", f"{number}_{i}", inner, schema, terminals)
    return [f"call_{number}: {' '.join(parts)} {quoted('</function>')}", *rules]


def _value(what: str, place: str, schema: object, root: Mapping[str, Any], terminals: dict[str, str]) -> list[str]:
    """With what ends it. A value that may be a string is the text itself, any other is JSON."""
    kinds = declared_kinds(schema, root)
    if not kinds or "string" in kinds:
        text = terminals[what] = XmlText(what, root, null="null" in kinds).allowed(schema)
        # One terminal with its end: on its own a text would go on through it.
        return [f"value_{place}: TEXT_{place}", f"TEXT_{place}: {text} {quoted(_END)}"]
    assert isinstance(schema, Mapping), "what has kinds is no bool"
    definitions = {key: root[key] for key in _DEFINITIONS if key in root}
    # What is of another kind would be read as a string.
    return [f"value_{place}: %json {schema_text(what, {'type': kinds, **schema, **definitions})} {quoted(_END)}"]


def _require_name(what: str, name: str) -> None:
    if not name or any(character in name for character in _NOT_IN_NAMES):
        raise RequestError(
            f"{what}: expected a name without <, > and line breaks for calls in XML, found {shown(name)}"
        )


def _require_pointers(what: str, schema: object) -> None:
    """Raises RequestError for a `$ref` to what is not carried along with each value's schema."""
    for inner in schema.values() if isinstance(schema, Mapping) else schema if isinstance(schema, list) else ():
        _require_pointers(what, inner)
    pointer = schema.get("$ref") if isinstance(schema, Mapping) else None
    if isinstance(pointer, str) and not pointer.startswith(tuple(f"#/{name}/" for name in _DEFINITIONS)):
        raise RequestError(f"{what}: expected a $ref into $defs for calls in XML, found {shown(pointer)}")
