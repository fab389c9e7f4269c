"""What the tools of a request declare, and whether they may be called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from qwen3edge.errors import RequestError, shown

TOOL_CALL, TOOL_CALLED = "<tool_call>", "</tool_call>"

_DEEPEST = 16
_JSON = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array"), (dict, "object"))

Mode = Literal["auto", "none", "required"]


@dataclass(frozen=True)
class ToolChoice:
    """Whether calls are the model's to make. name: of the one tool that it must call, if mode is "required"."""

    mode: Mode
    name: str | None = None


def checked_tool_choice(choice: object) -> ToolChoice:
    """Of "auto", "none", "required", or one tool as OpenAI's API names it. Raises RequestError."""
    if isinstance(choice, str) and choice in ("auto", "none", "required"):
        return ToolChoice(cast(Mode, choice))
    function = choice.get("function") if isinstance(choice, Mapping) and choice.get("type") == "function" else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if isinstance(name, str):
        return ToolChoice("required", name)
    raise RequestError(
        "expected tool_choice as 'auto', 'none', 'required' or {'type': 'function', 'function': {'name': ...}}, "
        f"found {shown(choice)}"
    )


def declared_functions(tools: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    """Parameters by the names of tools; what is no function is passed over: templates show it to the model all the
    same.
    """
    functions = (tool.get("function", tool) for tool in tools or ())
    return {
        function["name"]: function.get("parameters")
        for function in functions
        if isinstance(function, Mapping) and isinstance(function.get("name"), str)
    }


def strict_functions(tools: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """The names of those that say `strict`: the arguments of each of their calls match the schema. Raises RequestError
    where it says neither true nor false.
    """
    found = []
    for tool in tools or ():
        function = tool.get("function", tool)
        strict = function.get("strict") if isinstance(function, Mapping) else None
        if strict not in (None, False, True):
            raise RequestError(f"tools: expected strict as true or false, found {shown(strict)}")
        if strict and isinstance(name := function.get("name"), str):
            found.append(name)
    return list(dict.fromkeys(found))


def declared_types(tools: Sequence[Mapping[str, Any]] | None) -> dict[str, dict[str, list[str]]]:
    """By tools' and parameters' names the types that their schemas allow, as JSON Schema names them. What is no such
    schema is passed over.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for name, schema in declared_functions(tools).items():
        properties = schema.get("properties") if isinstance(schema, Mapping) else None
        if isinstance(properties, Mapping):
            found[name] = {key: declared_kinds(value, schema) for key, value in properties.items()}
    return found


def declared_kinds(schema: object, root: object) -> list[str]:
    """The types that a parameter's schema allows, each once. root: the schema that its references lead into."""
    return list(dict.fromkeys(_types(schema, root, set())))


def _types(schema: object, root: object, followed: set[str], depth: int = 0) -> list[str]:
    """followed: references, each of which adds its types once."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return []
    declared = schema.get("type")
    if isinstance(declared, str):
        return [declared]
    if isinstance(declared, Sequence):
        return [each for each in declared if isinstance(each, str)]
    if isinstance(pointer := schema.get("$ref"), str):
        if pointer in followed:
            return []
        followed.add(pointer)
        return _types(referred(pointer, root), root, followed, depth + 1)
    found = []
    for key in ("anyOf", "oneOf", "allOf"):
        inner = schema.get(key)
        for each in inner if isinstance(inner, Sequence) else ():
            found += _types(each, root, followed, depth + 1)
    values = [*schema["enum"]] if isinstance(schema.get("enum"), Sequence) else []
    values += [schema["const"]] if "const" in schema else []
    return found + [_type_of(value) for value in values]


def referred(pointer: str, root: object) -> object:
    """What a pointer within the schema, such as `#/$defs/City`, leads to; None if nothing."""
    found = root if pointer.startswith("#/") else None
    for name in pointer.removeprefix("#/").split("/"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _type_of(value: object) -> str:
    return next((name for kind, name in _JSON if isinstance(value, kind)), "null")
