"""The chat templates that we have at hand, and conversations of all kinds for them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data"
FOLDER = DATA / "templates"

SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.rglob("*.jinja"))}
SOURCES["qwen3_first"] = json.loads((DATA / "tiny-qwen3" / "tokenizer_config.json").read_text())["chat_template"]

NAMED_TOKENS = {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<|im_end|>"}

_WORDS = [
    *(
        "Hello",
        "rain",
        "Köln",
        "größe",
        "ΣΑΣ",
        "日本語",
        "emoji 😀",
        "e\u0301",
        "İstanbul",
        "ﬁ",
        "\u00a0",
        "\u200b",
        "\u2028",
    ),
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<|im_end|>"),
    *(
        "/think",
        "/no_think",
        '"quoted"',
        "it's",
        "back\\slash",
        "{{ x }}",
        "%s",
        "&amp;",
        "\t",
        "\n",
        "\n\n",
        " ",
        "1e3",
        "0",
    ),
    *("\ud800", "a\x7fb", "\x00", "\U0010ffff", "-"),
]
_NAMES = ["weather", "get_x", "f", "suche", "name with blanks", "日本"]
_KEYS = [
    "city",
    "days",
    "items",
    "values",
    "get",
    "keys",
    "name",
    "type",
    "a b",
    "größe",
    "description",
    "enum",
    "required",
]
_KINDS = ["string", "integer", "number", "boolean", "array", "object", ["string", "null"], None, 5]


class Conversations:
    """Random ones, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def settings(self) -> dict[str, Any]:
        """What `ChatTemplate.render` takes."""
        pick = self._random
        variables: dict[str, Any] = {}
        if pick.random() < 0.3:
            variables = {
                name: self._json(1) for name in pick.sample(["date_string", "keep_thoughts", "x", "content"], 2)
            }
            variables |= {"preserve_thinking": pick.choice([True, False, None]), "add_vision_id": pick.random() < 0.5}
            variables |= {"reasoning_effort": pick.choice(["low", "medium", "xhigh", "none", 5])}
        return {
            "messages": self._messages(),
            "tools": [self._tool() for _ in range(pick.randrange(4))] if pick.random() < 0.5 else None,
            "thinking": pick.choice([None, True, False]),
            "generate": pick.random() < 0.7,
            "variables": variables,
        }

    def _text(self, most: int = 8) -> str:
        joint = self._random.choice(["", " "])
        return joint.join(self._random.choice(_WORDS) for _ in range(self._random.randrange(most)))

    def _content(self) -> Any:
        if self._random.random() < 0.15:
            return [{"type": "text", "text": self._text()} for _ in range(self._random.randrange(3))]
        return self._text()

    def _messages(self) -> list[dict[str, Any]]:
        pick = self._random
        messages: list[dict[str, Any]] = []
        if pick.random() < 0.4:
            messages.append({"role": pick.choice(["system", "developer"]), "content": self._content()})
        if pick.random() < 0.9:
            messages.append({"role": "user", "content": self._content()})
        for _ in range(pick.randrange(6)):
            messages.append(self._message())
        return messages or [{"role": "assistant", "content": self._text()}]

    def _message(self) -> dict[str, Any]:
        pick = self._random
        role = pick.choice(
            ["user", "user", "assistant", "assistant", "assistant", "tool", "tool", "system", "developer"]
        )
        message: dict[str, Any] = {"role": role, "content": self._content()}
        if role == "assistant":
            if pick.random() < 0.3:
                message["content"] = f"<think>\n{self._text()}\n</think>\n\n{self._text()}"
            if pick.random() < 0.4:
                message[pick.choice(["reasoning_content", "reasoning", "thinking"])] = self._text()
            if pick.random() < 0.4:
                message["tool_calls"] = [self._call() for _ in range(pick.randrange(1, 4))]
                message["content"] = pick.choice([None, "", message["content"]])
        elif role == "tool" and pick.random() < 0.5:
            message |= {"tool_call_id": self._text(3), "name": pick.choice(_NAMES)}
        return message

    def _call(self) -> dict[str, Any]:
        arguments: Any = {self._random.choice(_KEYS): self._json(3) for _ in range(self._random.randrange(4))}
        if self._random.random() < 0.3:
            arguments = json.dumps(
                arguments, indent=self._random.choice([None, 1]), ensure_ascii=self._random.random() < 0.5
            )
        function = {"name": self._random.choice(_NAMES), "arguments": arguments}
        identity = {"id": self._text(3)} if self._random.random() < 0.5 else {}
        return function if self._random.random() < 0.2 else {"type": "function", **identity, "function": function}

    def _tool(self) -> dict[str, Any]:
        pick = self._random
        properties = {pick.choice(_KEYS): self._schema() for _ in range(pick.randrange(4))}
        function: dict[str, Any] = {"name": pick.choice(_NAMES)}
        if pick.random() < 0.7:
            function["description"] = self._text()
        if pick.random() < 0.8:
            function["parameters"] = {"type": "object", "properties": properties, "required": list(properties)[:2]}
        if pick.random() < 0.2:
            function["parameters"] = self._json(2)
        return function if pick.random() < 0.2 else {"type": "function", "function": function, "strict": self._json(1)}

    def _schema(self) -> Any:
        pick = self._random
        schema: dict[str, Any] = {"type": pick.choice(_KINDS), "description": self._text()}
        if pick.random() < 0.4:
            schema["enum"] = [self._json(1) for _ in range(pick.randrange(4))]
        if pick.random() < 0.3:
            schema["items"] = {"type": "string", "default": self._json(1)}
        return schema if pick.random() < 0.9 else self._json(1)

    def _json(self, depth: int) -> Any:
        pick = self._random
        kind = pick.randrange(10 if depth else 8)
        if kind == 9:
            return {pick.choice(_KEYS): self._json(depth - 1) for _ in range(pick.randrange(4))}
        if kind == 8:
            return [self._json(depth - 1) for _ in range(pick.randrange(4))]
        if kind == 7:
            return pick.choice(
                [0.0, -0.0, 1e16, 1.5e-7, 1e300, 123456.789, 5e-324, 2.0, 0.1, 1e15, -1e22, float("inf")]
            )
        if kind == 6:
            return pick.choice([0, -1, 7, 2**31, -(2**63), 2**63, 10**30, 10**17])
        return pick.choice([None, True, False]) if kind == 5 else self._text(4)
