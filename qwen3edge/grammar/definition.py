"""What an answer must match, as a request says it: checked as far as that needs no grammar library."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from qwen3edge import checks
from qwen3edge.errors import RequestError, shown
from qwen3edge.grammar.completion import completed

MAX_CHARACTERS = 1 << 16
"""Of a definition: what a longer one takes is in no plan."""

MAX_TEXTS = 4096
"""Of `one_of`."""

MOST_MULTIPLE = 10_000
"""Of all `multipleOf` of a schema, as their least common multiple: llguidance takes a state of its lexer for each
remainder, and half a minute for a million of them, which nobody can break off."""

OPTIONS = ("json_schema", "regex", "grammar", "one_of")
"""The options of a request, of which it has at most one."""

JSON_STYLE: dict[str, Any] = {
    "whitespace_pattern": r"( |\n {0,16})?",
    "lenient": False,
    "coerce_one_of": False,
}
"""For llguidance. Blanks between JSON's tokens are bounded: a model that likes them would never end. What of a schema
cannot be held to is refused."""


@dataclass(frozen=True)
class Definition:
    """option: of the request, for messages. text: of a schema its JSON, else of a regex or of a grammar in Lark's or
    GBNF's syntax. terminals: of the grammar, by what they stand for: each must match some text, or an answer could
    come to a place from which nothing leads on. calls: what may come in its place, and begins with another token.
    within_calls: it is one of tool calls, and all else in the answer is free.
    """

    option: str
    kind: Literal["json_schema", "regex", "grammar"]
    text: str
    terminals: Mapping[str, str] = field(default_factory=dict)
    calls: Definition | None = None
    within_calls: bool = False


def defined(asked: Mapping[str, Any]) -> Definition | None:
    """The definition among a request's options; None if there is none. Raises RequestError."""
    given = [name for name in OPTIONS if asked[name] is not None]
    if not given:
        return None
    if len(given) > 1:
        raise RequestError(f"expected one of {', '.join(OPTIONS)}, found {' and '.join(given)}")
    name = given[0]
    value = asked[name]
    if name == "json_schema":
        return Definition(name, "json_schema", schema_text(name, value))
    if name == "one_of":
        return Definition(name, "regex", "|".join(map(literal, _texts(value))))
    return Definition(name, "regex" if name == "regex" else "grammar", _bounded(name, checks.text(name, value)))


def schema_text(name: str, schema: object) -> str:
    """A schema, given as a dict, a bool or JSON text, as JSON with our style. name: for messages. Raises RequestError
    for what is no JSON, or allows nothing.
    """
    try:
        found = json.loads(_bounded(name, schema)) if isinstance(schema, str) else schema
        if found is True:
            found = {}
        if isinstance(found, Mapping):
            _require_one_meaning(name, found)
            _require_small_multiples(name, found)
            found = completed(name, found)
            return _bounded(name, json.dumps({**found, "x-guidance": JSON_STYLE}, allow_nan=False, ensure_ascii=False))
    except RequestError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise RequestError(f"{name}: expected a JSON schema, found what is no JSON ({error!s:.100})") from None
    if found is False:
        raise RequestError(f"{name}: expected a schema that some answer matches, found False")
    raise RequestError(f"{name}: expected a JSON schema as a dict or as JSON text, found {shown(schema)}")


def require_object(name: str, schema: object) -> Mapping[str, Any]:
    """A schema of objects. Raises RequestError for what is none."""
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        raise RequestError(f"{name}: expected a JSON schema of an object, found {shown(schema)}")
    return schema


def _within(schema: object) -> Iterable[object]:
    """What stands in a part of a schema."""
    return schema.values() if isinstance(schema, Mapping) else schema if isinstance(schema, list) else ()


def _require_one_meaning(name: str, schema: object) -> None:
    """Raises RequestError for a `$ref` beside an `$id`: drafts differ on where it leads."""
    for inner in _within(schema):
        _require_one_meaning(name, inner)
    if isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str) and isinstance(schema.get("$id"), str):
        raise RequestError(f"{name}: expected no $id beside a $ref, found {shown(schema['$id'])}")


def _require_small_multiples(name: str, schema: object, common: int = 1) -> int:
    """The least common multiple of `common` and of all `multipleOf` in a schema, each without its decimal point. Raises
    RequestError for one that is too large.
    """
    for inner in _within(schema):
        common = _require_small_multiples(name, inner, common)
    of = schema.get("multipleOf") if isinstance(schema, Mapping) else None
    if not of or isinstance(of, bool) or not isinstance(of, (int, float)):
        return common  # what else is wrong with it llguidance says
    common = math.lcm(common, int(format(Decimal(str(of)).normalize(), "f").replace(".", "")))
    if common > MOST_MULTIPLE:
        raise RequestError(
            f"{name}: expected multipleOf of at most {MOST_MULTIPLE}, a decimal's digits as a whole number and all of "
            f"a schema as their least common multiple, found {shown(of)} that makes it {shown(common)}: leave it out"
        )
    return common


def quoted(text: str) -> str:
    """A text as a string of llguidance's Lark."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", r"\x7f")


def terminal(regex: str) -> str:
    """A regex as a terminal of llguidance's Lark, in which a slash or a line break would end it."""
    return "/" + re.sub(r"\\.|[/\n]", _escaped, regex, flags=re.DOTALL) + "/"


def _escaped(found: re.Match[str]) -> str:
    return {"/": r"\/", "\n": r"\n", "\\\n": r"\n"}.get(found[0], found[0])


def literal(text: str) -> str:
    """A text as a regex: Python's own escapes are not Rust's."""
    return "".join(c if c.isalnum() or not c.isascii() else f"\\x{ord(c):02X}" for c in text)


def _texts(value: object) -> list[str]:
    texts = [checks.text("the texts of one_of", text) for text in checks.items("one_of", value, MAX_TEXTS)]
    if not texts or not all(texts):
        raise RequestError("one_of: expected texts of at least one character, found " + ("''" if texts else "none"))
    _bounded("one_of", "".join(texts))
    return texts


def _bounded(name: str, text: str) -> str:
    if len(text) > MAX_CHARACTERS:
        raise RequestError(f"{name}: expected at most {MAX_CHARACTERS} characters, found {len(text)}")
    checks.encoded(name, text)
    return text
