"""What llguidance passes over in a schema, and would hold an answer to half: added in its own words, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3edge.errors import RequestError

_EARLIER = ("disallow", "divisibleBy", "extends")
"""Keywords of draft 3, which later drafts do not know."""

_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
_DATA = ("const", "default", "enum", "examples")
"""Where keys are names, or no keywords at all."""

_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DATE = (
    "(?:[0-9]{4}-(?:0[13-9]|1[0-2])-[0-9]{2}|[0-9]{4}-02-(?:[01][0-9]|2[0-8])|" + _LEAP_YEAR + "-02-29)"
)  # llguidance knows how long the other months are
_NO_LEAP_SECOND = "[0-9]{2}:[0-9]{2}:[0-5]"
FORMATS = {"date": f"^{_DATE}", "time": f"^{_NO_LEAP_SECOND}", "date-time": f"^{_DATE}.{_NO_LEAP_SECOND}"}
"""By format a pattern beside it: the 29th of February in leap years alone, and no second 60, which few minutes have."""


def completed(name: str, schema: Any) -> Any:
    """A schema, or a part of one. name: for messages. Raises RequestError for a keyword of an earlier draft."""
    if isinstance(schema, list):
        return [completed(name, inner) for inner in schema]
    if not isinstance(schema, Mapping):
        return schema
    for key in _EARLIER:
        if key in schema:
            raise RequestError(
                f"{name}: expected a JSON schema of draft 4 or later, found {key!r}, which is of draft 3"
            )
    found = {key: value if key in _DATA else _inner(name, key, value) for key, value in schema.items()}
    pattern = FORMATS.get(schema["format"]) if isinstance(schema.get("format"), str) else None
    if pattern is not None and isinstance(found.setdefault("allOf", []), list):
        found["allOf"] = [*found["allOf"], {"pattern": pattern}]
    return found


def _inner(name: str, key: str, value: Any) -> Any:
    if key in _BY_NAME and isinstance(value, Mapping):
        return {each: completed(name, inner) for each, inner in value.items()}
    return completed(name, value)
