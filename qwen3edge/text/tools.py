"""What the tools of a request declare, and whether they may be called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qwen3edge.errors import RequestError, shown

TOOL_CALL = "<tool_call>"

_DEEPEST = 16
_JSON = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array"), (dict, "object"))


def checked_tool_choice(choice: object) -> str:
    """Gives back "auto" or "none". Raises RequestError."""
    if not isinstance(choice, str) or choice not in ("auto", "none"):
        raise RequestError(
            f"expected tool_choice as 'auto' or 'none', found {shown(choice)}: no call can be forced yet; ask for one "
            "in the prompt"
        )
    return choice


def declared_types(tools: Sequence[Mapping[str, Any]] | None) -> dict[str, dict[str, list[str]]]:
    """By tools' and parameters' names the types that their schemas allow, as JSON Schema names them. What is no such
    schema is passed over: templates show it to the model all the same.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for tool in tools or ():
        function = tool.get("function", tool)
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            continue
        schema = function.get("parameters")
        properties = schema.get("properties") if isinstance(schema, Mapping) else None
        if isinstance(properties, Mapping):
            found[function["name"]] = {key: _types(value, schema) for key, value in properties.items()}
    return found


def _types(schema: object, root: object, depth: int = 0) -> list[str]:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return []
    declared = schema.get("type")
    if isinstance(declared, str):
        return [declared]
    if isinstance(declared, Sequence):
        return [each for each in declared if isinstance(each, str)]
    if isinstance(schema.get("$ref"), str):
        return _types(_referred(schema["$ref"], root), root, depth + 1)
    found = []
    for key in ("anyOf", "oneOf", "allOf"):
        inner = schema.get(key)
        for each in inner if isinstance(inner, Sequence) else ():
            found += _types(each, root, depth + 1)
    values = [*schema["enum"]] if isinstance(schema.get("enum"), Sequence) else []
    values += [schema["const"]] if "const" in schema else []
    return found + [_type_of(value) for value in values]


def _referred(pointer: str, root: object) -> object:
    """What a pointer within the schema, such as `#/$defs/City`, leads to; None if nothing."""
    found = root if pointer.startswith("#/") else None
    for name in pointer.removeprefix("#/").split("/"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _type_of(value: object) -> str:
    return next((name for kind, name in _JSON if isinstance(value, kind)), "null")
