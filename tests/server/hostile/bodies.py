"""Bodies of requests, for whatever the OpenAPI document has: right ones by their schema, and changed ones."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

MOST_TOKENS = 32
"""Of an answer."""

LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")
KNOWN: dict[str, list[Any]] = {
    "messages": [
        [{"role": "user", "content": "What is 12 + 7?"}],
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    ],
    "model": ["tiny"],
    "prompt": ["What is 12 + 7?"],
    "input": ["What is 12 + 7?"],
    "content": ["Grüße 🦙"],
    "query": ["12 + 7"],
    "documents": [["19", "20"]],
    "tools": [[{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]],
    "response_format": [{"type": "text"}, {"type": "json_object"}],
    "tool_choice": ["auto", "none"],
    "chat_template_kwargs": [{"enable_thinking": False}],
    "logit_bias": [{"7": 5}],
    "n": [1, 2],
    "stop": ["7", ["a", "b"]],
    **{name: [1, 9, MOST_TOKENS] for name in LENGTHS},
}
"""By the name of a property: values that mean something."""

STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, 1e308, "", " ", "\0", "a\0b", "\ud800", "🦙" * 99,
    "x" * 100_000, [], {}, [[]], [None], {"": ""}, {"__class__": 1}, {"$ref": "#"}, "{{ 7 * 7 }}", "{% raw %}",
    "../../etc/passwd", "<|im_end|>", "<think>", "</tool_call>", "file:///etc/passwd", "%s%n", "\u202e", "NaN", "null",
    [1] * 5000, {"a": {"a": {"a": []}}}, {f"k{i}": i for i in range(500)}, {"type": "text"}, {"role": "user"},
    {"type": "object", "properties": {"a": {"$ref": "#"}}},
]  # fmt: skip
LITERALS = [
    "NaN", "Infinity", "-Infinity", "1e999", "-0", "0x10", "9" * 4000, "1" + "0" * 400 + ".5", "01", "tru", "'a'",
    '"\\ud800"', '"\\u0000"', '"\\x"', '"\n"', "{}{}", "[1,]", "/* */ 1", '"a" "b"', "1e-999", "[" * 99_999,
    "[" * 5000 + "]" * 5000, '{"a":' * 5000 + "1" + "}" * 5000,
]  # fmt: skip
"""Of JSON or nearly, as they are written."""


class Maker:
    """Of the bodies of one document."""

    def __init__(self, document: dict[str, Any], draw: random.Random) -> None:
        self._schemas, self._draw = document.get("components", {}).get("schemas", {}), draw

    def right(self, schema: dict[str, Any]) -> Any:
        """A body by its schema; mostly what the endpoint takes."""
        body = self._value("", schema, 0)
        if isinstance(body, dict):
            bound(body, self._properties(schema))
        return body

    def changed(self, body: Any) -> Any:
        """With a few things wrong in it."""
        changed = copy.deepcopy(body)
        for _ in range(self._draw.choice((1, 1, 1, 2, 5))):
            changed = self._change(changed)
        return changed

    def anything(self, depth: int = 0) -> Any:
        """JSON of no schema."""
        kind = self._draw.randrange(8 if depth < 6 else 6)
        if kind == 6:
            return [self.anything(depth + 1) for _ in range(self._draw.randrange(5))]
        if kind == 7:
            names = [*KNOWN, "role", "type", "function", "name", ""]
            return {self._draw.choice(names): self.anything(depth + 1) for _ in range(self._draw.randrange(5))}
        return self._strange()

    def written(self, body: Any) -> bytes:
        """As JSON; now and then with something in it that is none, or in another encoding."""
        text = json.dumps(body, ensure_ascii=self._draw.random() < 0.5)
        if self._draw.random() < 0.25 and ":" in text:
            places = [i for i, letter in enumerate(text) if letter == ":"]
            at = self._draw.choice(places[:20]) + 1
            text = text[:at] + self._draw.choice(LITERALS) + text[at:].lstrip()[self._draw.randrange(3) :]
        encoding = self._draw.choice(("utf-8",) * 12 + ("utf-16", "utf-8-sig", "latin-1"))
        data = text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")
        if self._draw.random() < 0.1:
            data = data[: self._draw.randrange(len(data) + 1)]
        return data

    def _strange(self) -> Any:
        return copy.deepcopy(self._draw.choice(STRANGE))

    def _properties(self, schema: dict[str, Any]) -> dict[str, Any]:
        found = self._resolved(schema).get("properties", {})
        assert isinstance(found, dict)
        return found

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        return schema

    def _value(self, name: str, schema: dict[str, Any], depth: int) -> Any:
        schema, draw = self._resolved(schema), self._draw
        if name in KNOWN and draw.random() < 0.95:
            return copy.deepcopy(draw.choice(KNOWN[name]))
        for union in ("anyOf", "oneOf"):
            if union in schema:
                return self._value(name, draw.choice(schema[union]), depth)
        if "enum" in schema:
            return draw.choice(schema["enum"])
        if "const" in schema:
            return schema["const"]
        kind = schema.get("type")
        if kind == "object" or "properties" in schema:
            required = schema.get("required", [])
            chance = 0.15 if depth == 0 else 0.4
            return {
                key: self._value(key, each, depth + 1)
                for key, each in schema.get("properties", {}).items()
                if key in required or (depth < 5 and draw.random() < chance)
            }
        if kind == "array":
            return [self._value("", schema.get("items", {}), depth + 1) for _ in range(draw.randrange(1, 3))]
        if kind == "integer":
            return draw.choice((0, 1, 2, 7))
        if kind == "number":
            return draw.choice((0, 0.5, 1, 1.5))
        if kind == "boolean":
            return draw.random() < 0.5
        if kind == "null":
            return None
        return draw.choice(("a", "What is 12 + 7?", ""))

    def _change(self, value: Any) -> Any:
        draw = self._draw
        if isinstance(value, dict) and value and draw.random() < 0.85:
            name = draw.choice(list(value))
            way = draw.randrange(6)
            if way == 0:
                del value[name]
            elif way == 1:
                value[draw.choice(("", "x", name.upper(), name + " ", "\0", "__proto__"))] = value[name]
            elif way == 2:
                value[draw.choice(list(KNOWN))] = self._strange()
            else:
                value[name] = self._change(value[name])
            return value
        if isinstance(value, list) and value and draw.random() < 0.7:
            at = draw.randrange(len(value))
            if draw.random() < 0.2:
                return value * draw.choice((2, 50, 2000))
            value[at] = self._change(value[at])
            return value
        deep = draw.random() < 0.1
        found = self.anything() if deep else self._strange()
        for _ in range(draw.choice((50, 95, 150)) if deep and draw.random() < 0.3 else 0):
            found = [found]
        return found


def bound(body: Any, properties: dict[str, Any]) -> None:
    """Makes the answers to a request short: in place, where its length is one. properties: of its schema."""
    if not isinstance(body, dict):
        return
    options = body.get("options") if isinstance(body.get("options"), dict) else None
    if "options" in properties and body.get("options") is None:
        options = body["options"] = {}
    if options is not None:
        _bound(options, "num_predict")
    for name in LENGTHS:
        if name in body or (name in properties and name != "num_predict" and not any(each in body for each in LENGTHS)):
            _bound(body, name)
    if type(body.get("n")) is int and body["n"] > 4:
        body["n"] = 4


def _bound(values: dict[str, Any], name: str) -> None:
    value = values.get(name)
    if value is None or (type(value) is int and (value > MOST_TOKENS or value < 0)):
        values[name] = MOST_TOKENS


def mend(body: Any, properties: dict[str, Any]) -> None:
    """Takes out, in place, what a schema cannot say: models that are not there, conversations without sense."""
    if isinstance(body, dict):
        body.pop("model", None)
        for name in ("messages", "prompt", "input", "query", "documents", "tools", "tool_choice", "response_format"):
            if name in properties and name in body:
                body[name] = copy.deepcopy(KNOWN[name][0])
