"""Chat messages as users and OpenAI's clients write them, checked and brought into the one form that templates read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qwen3edge.errors import RequestError

ROLES = ("system", "user", "assistant", "tool")

Message = Mapping[str, Any]


def normalize(messages: Sequence[Message], protect: Callable[[str], str]) -> list[dict[str, Any]]:
    """Each message with `role`, `content` (a str), and `reasoning_content`, `tool_calls`, `name`, `tool_call_id` if
    given.

    A content may be a list of `{"type": "text", "text": ...}` parts. A tool call may stand in OpenAI's form or as
    `{"name", "arguments"}`; arguments may be a JSON string. Other keys, such as those that OpenAI's clients echo, are
    left out. Every text goes through protect. Raises RequestError naming the message.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise RequestError(f"expected a list of at least one message, found {_kind(messages)}")
    return [_message(message, f"messages[{index}]", protect) for index, message in enumerate(messages)]


def normalize_tools(tools: Sequence[Mapping[str, Any]] | None, protect: Callable[[str], str]) -> list[Any] | None:
    """Tools as templates print them: a list of JSON objects. None for none. Raises RequestError."""
    if not tools and (tools is None or isinstance(tools, Sequence)):
        return None
    if isinstance(tools, str | bytes | Mapping) or not isinstance(tools, Sequence):
        raise RequestError(f"expected a list of tools, found {_kind(tools)}")
    for index, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise RequestError(f"expected tools[{index}] as an object with a function's schema, found {_kind(tool)}")
    return [_json(tool, f"tools[{index}]", protect) for index, tool in enumerate(tools)]


def _message(message: object, where: str, protect: Callable[[str], str]) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise RequestError(f"expected {where} as an object with role and content, found {_kind(message)}")
    role = message.get("role")
    if role not in ROLES:
        raise RequestError(f"expected {where}.role to be one of {', '.join(ROLES)}, found {role!r:.100}")
    result: dict[str, Any] = {"role": role}
    calls = message.get("tool_calls")
    content = message.get("content")
    if content is None and role == "assistant" and (calls or message.get("reasoning_content")):
        content = ""
    result["content"] = protect(_content(content, where))
    for key in ("reasoning_content", "name", "tool_call_id"):
        value = message.get(key)
        if value is not None:
            if not isinstance(value, str):
                raise RequestError(f"expected {where}.{key} as a string, found {_kind(value)}")
            result[key] = protect(value)
    if calls:
        if role != "assistant" or not isinstance(calls, Sequence) or isinstance(calls, str):
            raise RequestError(f"expected {where}.tool_calls as a list in an assistant's message")
        result["tool_calls"] = [
            _tool_call(call, f"{where}.tool_calls[{index}]", protect) for index, call in enumerate(calls)
        ]
    return result


def _content(content: object, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise RequestError(f"expected {where}.content as a string or a list of text parts, found {_kind(content)}")
    texts = []
    for index, part in enumerate(content):
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, Mapping) else None
            found = repr(kind)[:100] if kind is not None else _kind(part)
            raise RequestError(f"expected {where}.content[{index}] as a part of type 'text', found {found}")
        texts.append(part["text"])
    return "".join(texts)


def _tool_call(call: object, where: str, protect: Callable[[str], str]) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RequestError(f"expected {where} as an object with the function's name and arguments")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            raise RequestError(f"expected {where}.arguments as a JSON object, found other text") from None
    if not isinstance(arguments, Mapping):
        raise RequestError(f"expected {where}.arguments as a JSON object, found {_kind(arguments)}")
    checked = {"name": protect(function["name"]), "arguments": _json(arguments, f"{where}.arguments", protect)}
    assert isinstance(call, Mapping)
    identity = {"id": protect(call["id"])} if isinstance(call.get("id"), str) else {}
    return {"type": "function", **identity, "function": checked}


def _json(value: object, where: str, protect: Callable[[str], str], depth: int = 0) -> Any:
    if depth > 100:
        raise RequestError(f"expected {where} nested at most 100 deep")
    if isinstance(value, str):
        return protect(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise RequestError(f"expected {where} with strings as keys")
        return {protect(key): _json(item, where, protect, depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_json(item, where, protect, depth + 1) for item in value]
    raise RequestError(f"expected {where} to hold JSON values, found {_kind(value)}")


def _kind(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, Sequence) and not value:
        return "an empty one"
    return type(value).__name__
