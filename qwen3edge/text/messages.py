"""Chat messages as users and OpenAI's clients write them, checked and brought into the one form that templates read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qwen3edge.errors import RequestError, shown

ROLES = ("system", "developer", "user", "assistant", "tool")

Message = Mapping[str, Any]

_REASONING = ("reasoning_content", "thinking", "reasoning")
"""Names of an assistant's thoughts, the first that is there counts: Qwen's, gpt-oss', vLLM's and OpenRouter's."""


class Guard:
    """What every text from outside goes through; this one takes it as it is."""

    def text(self, text: str) -> str:
        """What a user, a system or a tool says: names of tokens in it are text."""
        return text

    def answer(self, text: str) -> str:
        """What an assistant said: templates split it at its tags."""
        return text

    def item(self) -> None:
        """Counts a message, or a value inside one."""


class Arguments(dict[str, Any]):
    """A tool call's arguments: an object for templates that take it apart, and its JSON text for those that join it."""

    def __init__(self, values: Mapping[str, Any], text: str) -> None:
        super().__init__(values)
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __add__(self, other: object) -> str:
        return self._text + other if isinstance(other, str) else NotImplemented

    def __radd__(self, other: object) -> str:
        return other + self._text if isinstance(other, str) else NotImplemented


def normalize(messages: Sequence[Message], guard: Guard, *, developer: str = "developer") -> list[dict[str, Any]]:
    """Each message with `role`, `content` (a str), and `reasoning_content`, `tool_calls`, `name`, `tool_call_id` if
    given.

    A content may be a list of `{"type": "text", "text": ...}` parts. A tool call may stand in OpenAI's form or as
    `{"name", "arguments"}`; arguments may be a JSON string. Thoughts may also be called `reasoning` or `thinking`.
    Other keys, such as those that OpenAI's clients echo, are left out. developer: what that role becomes. Raises
    RequestError naming the message.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise RequestError(f"expected messages as a list of at least one, found {_kind(messages)}")
    return [_message(message, f"messages[{index}]", guard, developer) for index, message in enumerate(messages)]


def normalize_tools(tools: Sequence[Mapping[str, Any]] | None, guard: Guard) -> list[Any] | None:
    """Tools as templates print them: a list of JSON objects. None for none. Raises RequestError."""
    if tools is None:
        return None
    if isinstance(tools, str | bytes | Mapping) or not isinstance(tools, Sequence):
        raise RequestError(f"expected tools as a list, found {_kind(tools)}")
    if not tools:
        return None
    for index, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise RequestError(f"expected tools[{index}] as an object with a function's schema, found {_kind(tool)}")
    return [_json(tool, f"tools[{index}]", guard) for index, tool in enumerate(tools)]


def normalize_variables(variables: Mapping[str, Any] | None, reserved: Sequence[str], guard: Guard) -> dict[str, Any]:
    """A template's own variables, JSON values by name. Raises RequestError."""
    if variables is None:
        return {}
    if not isinstance(variables, Mapping) or not all(isinstance(name, str) for name in variables):
        raise RequestError(f"expected template_variables as values by name, found {_kind(variables)}")
    for name in reserved:
        if name in variables:
            raise RequestError(f"expected template_variables other than {name}, which is an argument of its own")
    return {str(name): _json(value, f"template_variables.{name:.60}", guard) for name, value in variables.items()}


def _message(message: object, where: str, guard: Guard, developer: str) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise RequestError(f"expected {where} as an object with role and content, found {_kind(message)}")
    guard.item()
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise RequestError(f"expected {where}.role to be one of {', '.join(ROLES)}, found {shown(role)}")
    own = role == "assistant"
    result: dict[str, Any] = {"role": developer if role == "developer" else role}
    calls = message.get("tool_calls")
    thoughts = next((key for key in _REASONING if message.get(key) is not None), None)
    content = message.get("content")
    if content is None and own and (calls or (thoughts and message[thoughts])):
        content = ""
    result["content"] = _content(content, where, guard.answer if own else guard.text)
    for key, name in (("reasoning_content", thoughts), ("name", "name"), ("tool_call_id", "tool_call_id")):
        value = None if name is None else message.get(name)
        if value is not None:
            if not isinstance(value, str):
                raise RequestError(f"expected {where}.{name} as a string, found {_kind(value)}")
            result[key] = guard.text(value)
    if "reasoning_content" in result:
        result["thinking"] = result["reasoning_content"]
    if calls:
        if not own or not isinstance(calls, Sequence) or isinstance(calls, str | bytes):
            raise RequestError(f"expected {where}.tool_calls as a list in an assistant's message")
        result["tool_calls"] = [
            _tool_call(call, f"{where}.tool_calls[{index}]", guard) for index, call in enumerate(calls)
        ]
    return result


def _content(content: object, where: str, guarded: Callable[[str], str]) -> str:
    if isinstance(content, str):
        return guarded(content)
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise RequestError(f"expected {where}.content as a string or a list of text parts, found {_kind(content)}")
    texts = []
    for index, part in enumerate(content):
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, Mapping) else None
            found = shown(kind) if kind is not None else _kind(part)
            raise RequestError(f"expected {where}.content[{index}] as a part of type 'text', found {found}")
        texts.append(guarded(part["text"]))  # one by one: parts may share a text that is too large together
    return "".join(texts)


def _tool_call(call: object, where: str, guard: Guard) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RequestError(f"expected {where} as an object with the function's name and arguments")
    guard.item()
    arguments, text = function.get("arguments"), None
    if isinstance(arguments, str):
        text = guard.text(arguments or "{}")  # before it is parsed: the guard bounds its size
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            raise RequestError(f"expected {where}.arguments as a JSON object, found other text") from None
    if arguments is None:
        arguments, text = {}, None
    if not isinstance(arguments, Mapping):
        raise RequestError(f"expected {where}.arguments as a JSON object, found {_kind(arguments)}")
    values = _json(arguments, f"{where}.arguments", guard)
    if text is None:
        text = json.dumps(values, ensure_ascii=False)
    checked = {"name": guard.text(function["name"]), "arguments": Arguments(values, text)}
    assert isinstance(call, Mapping)
    identity = {"id": guard.text(call["id"])} if isinstance(call.get("id"), str) else {}
    return {"type": "function", **identity, "function": checked}


def _json(value: object, where: str, guard: Guard, depth: int = 0) -> Any:
    guard.item()
    if depth > 100:
        raise RequestError(f"expected {where} nested at most 100 deep")
    if isinstance(value, str):
        return guard.text(value)
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 1024:
        raise RequestError(f"expected {where} to hold numbers of at most 300 digits")
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise RequestError(f"expected {where} with strings as keys")
        return {guard.text(key): _json(item, where, guard, depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_json(item, where, guard, depth + 1) for item in value]
    raise RequestError(f"expected {where} to hold JSON values, found {_kind(value)}")


def _kind(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, list | tuple | str | dict) and not value:
        return "an empty one"
    return type(value).__name__
