"""Parts of JSON Schema, of which the document's answers and errors are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]
Answers = Mapping[tuple[str, ...], tuple[str, Schema]]
"""Of an API, by the paths of an endpoint: the name and the schema of what it answers with 200 in JSON."""

ANY: Schema = {}
NULL: Schema = {"type": "null"}
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}


def record(optional: Mapping[str, Schema] | None = None, /, **required: Schema) -> Schema:
    """An object that has all of the one, and may have the others."""
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def record_of(kind: Schema, *names: str) -> Schema:
    """An object that has all of these names, each with a value of one kind."""
    return record(**dict.fromkeys(names, kind))


def mapping_of(kind: Schema) -> Schema:
    """An object of any names."""
    return {"type": "object", "additionalProperties": kind}


def list_of(kind: Schema) -> Schema:
    """An array of any length."""
    return {"type": "array", "items": kind}


def constant(value: object) -> Schema:
    """This value alone."""
    return {"const": value}


def one_of(*values: object) -> Schema:
    """These values alone."""
    return {"enum": list(values)}


def either(*kinds: Schema) -> Schema:
    """What one of them has room for."""
    return {"anyOf": list(kinds)}


def nullable(kind: Schema) -> Schema:
    """Or null."""
    return either(kind, NULL)
