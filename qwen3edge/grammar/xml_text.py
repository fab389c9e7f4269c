"""Values of XML calls that are raw text: a schema's strings as a terminal of llguidance's Lark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from qwen3edge.errors import RequestError, shown
from qwen3edge.grammar.definition import quoted, terminal
from qwen3edge.text.tools import referred

_ANY = "/(?s:.*)/"
_NO_END = r"~/(?s:.*)<\/parameter>(?s:.*)/"
_NULL = '"null"'
_NO_NULL = r"~/[ \t\r\n]*(null|None)[ \t\r\n]*/"
"""What is read as null where a parameter may be null."""

_DEEPEST = 16
_SAYS_NOTHING = {
    *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"),
    *("$defs", "definitions"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "minContains", "maxContains"),
    *("properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties"),
    *("propertyNames", "dependentRequired"),
}
"""Of a string."""

_PARTS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[()|]", re.DOTALL)
"""Of a regex: an escape, a class, or what groups."""


class XmlText:
    """Of one parameter. A text that is read as null stands for null, and for no string."""

    def __init__(self, what: str, root: Mapping[str, Any], *, null: bool) -> None:
        """what: for messages. root: the schema that holds definitions. null: the parameter is read as null then."""
        self._what, self._root, self._null = what, root, null

    def allowed(self, schema: object) -> str:
        """Of the texts that stand for strings, or for null, which the schema allows. Raises RequestError for a keyword
        that they cannot be held to, or for a schema that allows none.
        """
        found = self._allowed(schema, 0)
        if found is None:
            raise RequestError(f"{self._what}: expected a schema that some text matches, found {shown(schema)}")
        readable = f"({self._strings} | {_NULL}) & " if self._null else ""
        return f"({found} & {readable}{_NO_END})"

    @property
    def _strings(self) -> str:
        return _NO_NULL if self._null else _ANY

    def _allowed(self, schema: object, depth: int) -> str | None:
        """None: nothing is."""
        if isinstance(schema, bool):
            return _ANY if schema else None
        if not isinstance(schema, Mapping) or depth > _DEEPEST:
            raise RequestError(
                f"{self._what}: expected a JSON schema, no deeper than {_DEEPEST}, found {shown(schema)}"
            )
        parts = [self._part(key, value, depth + 1) for key, value in schema.items() if key not in _SAYS_NOTHING]
        return None if None in parts else _joined(" & ", [part for part in parts if part] or [_ANY])

    def _part(self, key: str, value: Any, depth: int) -> str | None:
        """What one keyword allows."""
        if key == "type":
            names = [value] if isinstance(value, str) else value
            string = self._strings if "string" in names else None
            return _joined(" | ", [string, _NULL if "null" in names and self._null else None])
        if key in ("minLength", "maxLength") and isinstance(value, int) and value >= 0:
            return self._string(f"/(?s:.{{{value},}})/" if key == "minLength" else f"/(?s:.{{0,{value}}})/")
        if key == "pattern" and isinstance(value, str):
            return self._string(self._found(value))
        if key == "const":
            return self._text(value)
        if key == "enum" and isinstance(value, list):
            return _joined(" | ", [self._text(each) for each in value])
        if key == "$ref" and isinstance(value, str):
            return self._allowed(referred(value, self._root), depth)
        if key in ("anyOf", "oneOf", "allOf") and isinstance(value, Sequence) and not isinstance(value, str):
            found = [self._allowed(each, depth) for each in value]
            if key == "allOf":
                return None if None in found else _joined(" & ", found)
            if key == "oneOf":
                found = _alone([each for each in found if each is not None])
            return _joined(" | ", found)
        raise RequestError(f"{self._what}: expected what a text in XML can be held to, found {shown(key)}")

    def _string(self, terminal: str) -> str:
        """What binds strings alone."""
        return f"({terminal} | {_NULL})" if self._null else terminal

    def _text(self, value: object) -> str | None:
        if isinstance(value, str):
            return None if self._null and value.strip(" \t\r\n") in ("null", "None") else quoted(value)
        return _NULL if value is None and self._null else None

    def _found(self, pattern: str) -> str:
        """A schema's pattern, which is found anywhere in a text, as a regex of the whole."""
        begin, end = pattern.startswith("^"), re.search(r"(?<!\\)(\\\\)*\$\Z", pattern) is not None
        inner = pattern[begin : len(pattern) - end]
        depth = 0
        for part in _PARTS.findall(inner):
            depth += (part == "(") - (part == ")")
            if depth < 0 or (part == "|" and depth == 0 and (begin or end)):
                raise RequestError(
                    f"{self._what}: expected a pattern whose ^ and $ stand around all of it, found {shown(pattern)}"
                )
        whole = ("" if begin else "(?s:.*)") + f"(?:{inner})" + ("" if end else "(?s:.*)")
        return terminal(whole)


def _joined(sign: str, parts: Sequence[str | None]) -> str | None:
    found = [part for part in parts if part is not None]
    return f"({sign.join(found)})" if found else None


def _alone(parts: list[str]) -> list[str | None]:
    """Of each what none of the others allows."""
    return [
        _joined(" & ", [part, *(f"~{each}" for j, each in enumerate(parts) if j != i)]) for i, part in enumerate(parts)
    ]
