"""What llguidance passes over in a schema, and would hold an answer to half or not at all: added in its own words, or
refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3edge.errors import RequestError, shown

_EARLIER = ("disallow", "divisibleBy", "extends")
"""Keywords of draft 3, which later drafts do not know."""

_KEYWORDS = """
    $schema $id id $ref $anchor $dynamicRef $dynamicAnchor $recursiveRef $recursiveAnchor $vocabulary $defs definitions
    type enum const multipleOf minimum maximum exclusiveMinimum exclusiveMaximum minLength maxLength pattern format
    items additionalItems prefixItems unevaluatedItems contains minContains maxContains minItems maxItems uniqueItems
    properties patternProperties additionalProperties unevaluatedProperties propertyNames required minProperties
    maxProperties dependencies dependentRequired dependentSchemas allOf anyOf oneOf not if then else
"""  # of drafts 4 to 2020-12: llguidance holds to them or refuses them
_NOTES = """
    $comment title description default examples deprecated readOnly writeOnly contentMediaType contentEncoding
    contentSchema strict components discriminator example externalDocs nullable xml propertyOrdering defaultSnippets
    deprecationMessage enumDescriptions enumNames errorMessage markdownDescription markdownEnumDescriptions
"""  # of the drafts, of OpenAPI, of editors and clients: what they say forbids nothing. So does what begins with `x-`
_KNOWN, _WITHOUT_SCHEMAS = frozenset(_KEYWORDS.split()), frozenset(["const", "enum", *_NOTES.split()])
_BY_NAME = (
    *("properties", "patternProperties", "$defs", "definitions"),
    *("dependentSchemas", "dependentRequired", "dependencies"),
)
"""Where keys are names."""

_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DATE = (
    "(?:[0-9]{4}-(?:0[13-9]|1[0-2])-[0-9]{2}|[0-9]{4}-02-(?:[01][0-9]|2[0-8])|" + _LEAP_YEAR + "-02-29)"
)  # llguidance knows how long the other months are
_NO_LEAP_SECOND = "[0-9]{2}:[0-9]{2}:[0-5]"
FORMATS = {"date": f"^{_DATE}", "time": f"^{_NO_LEAP_SECOND}", "date-time": f"^{_DATE}.{_NO_LEAP_SECOND}"}
"""By format a pattern beside it: the 29th of February in leap years alone, and no second 60, which few minutes have."""


def completed(name: str, schema: Any) -> Any:
    """A schema, or a part of one. name: for messages. Raises RequestError for a keyword of an earlier draft, and for
    one that nobody knows, which may be a slip of the pen.
    """
    if isinstance(schema, list):
        return [completed(name, inner) for inner in schema]
    if not isinstance(schema, Mapping):
        return schema
    for key in schema:
        if key in _EARLIER:
            raise RequestError(
                f"{name}: expected a JSON schema of draft 4 or later, found {key!r}, which is of draft 3"
            )
        if key not in _KNOWN and not _is_data(key):
            raise RequestError(f"{name}: expected keywords of JSON Schema, found {shown(key)}, which nobody knows")
    found = {key: value if _is_data(key) else _inner(name, key, value) for key, value in schema.items()}
    pattern = FORMATS.get(schema["format"]) if isinstance(schema.get("format"), str) else None
    if pattern is not None and isinstance(found.setdefault("allOf", []), list):
        found["allOf"] = [*found["allOf"], {"pattern": pattern}]
    return found


def _is_data(key: str) -> bool:
    """Whether nothing in it is a schema."""
    return key in _WITHOUT_SCHEMAS or key.startswith("x-")


def _inner(name: str, key: str, value: Any) -> Any:
    if key in _BY_NAME and isinstance(value, Mapping):
        return {each: completed(name, inner) for each, inner in value.items()}
    return completed(name, value)
