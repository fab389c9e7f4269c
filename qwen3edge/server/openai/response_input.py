"""The items of a response's input as messages: each turn of the assistant's, which has items of its own for thoughts,
texts and calls, becomes one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qwen3edge.errors import shown
from qwen3edge.server.errors import BodyError

_TEXTS = ("input_text", "output_text", "text", "reasoning_text", "summary_text")
_BETWEEN: dict[str, Any] = {"type": "text", "text": "\n\n"}

TextPart = dict[str, Any]


def messages_of(instructions: str | None, given: str | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The conversation. Instructions and what systems and developers say at its beginning are one message, as templates
    have one place for them. Raises BodyError.
    """
    items: Sequence[Mapping[str, Any]] = [{"role": "user", "content": given}] if isinstance(given, str) else given
    told = [] if not instructions else [[{"type": "text", "text": instructions}]]
    begin = 0
    while begin < len(items) and items[begin].get("role") in ("system", "developer"):
        told.append(_texts(items[begin].get("content"), f"input[{begin}].content"))
        begin += 1
    found = _Messages()
    if told:
        joined = [part for texts in told for part in (_BETWEEN, *texts)][1:]
        found.messages.append({"role": "system", "content": joined})
    for index in range(begin, len(items)):
        found.add(items[index], f"input[{index}]")
    return found.messages


class _Messages:
    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._own: dict[str, Any] | None = None  # the assistant's, while it speaks

    def add(self, item: Mapping[str, Any], where: str) -> None:
        kind = item.get("type") or ("message" if "role" in item else None)
        if kind == "message":
            self._message(item, where)
        elif kind == "reasoning":
            parts = item.get("content") or item.get("summary") or ()
            thoughts = "".join([part["text"] for part in _texts(parts, f"{where}.content")])
            if thoughts:  # else they are encrypted, by somebody else
                own = self._turn("content", "tool_calls")
                own["reasoning_content"] = own.get("reasoning_content", "") + thoughts
        elif kind == "function_call":
            function = {name: _text(item, name, where) for name in ("name", "arguments")}
            call = {"id": _text(item, "call_id", where), "type": "function", "function": function}
            self._turn().setdefault("tool_calls", []).append(call)
        elif kind == "function_call_output":
            content = _texts(item.get("output"), f"{where}.output")
            self._other({"role": "tool", "tool_call_id": _text(item, "call_id", where), "content": content})
        else:
            raise BodyError(
                f"{where}: expected an item of type message, reasoning, function_call or function_call_output, found "
                f"{shown(kind)}",
                "input",
            )

    def _message(self, item: Mapping[str, Any], where: str) -> None:
        content = _texts(item.get("content"), f"{where}.content")
        if item.get("role") == "assistant":
            self._turn("content", "tool_calls")["content"] = content
        else:
            self._other({"role": item.get("role"), "content": content})

    def _turn(self, *without: str) -> dict[str, Any]:
        """The assistant's message, a new one if it has any of these already."""
        if self._own is None or any(name in self._own for name in without):
            self._own = {"role": "assistant"}
            self.messages.append(self._own)
        return self._own

    def _other(self, message: dict[str, Any]) -> None:
        self._own = None
        self.messages.append(message)


def _texts(content: object, where: str) -> list[TextPart]:
    """Parts as messages have them. Raises BodyError for other parts than texts."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, Sequence):
        raise BodyError(f"{where}: expected a string or a list of parts, found {shown(content)}", "input")
    return [_part(part, f"{where}[{index}]") for index, part in enumerate(content)]


def _part(part: object, where: str) -> TextPart:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if isinstance(part, Mapping) and kind in _TEXTS:
        return {"type": "text", "text": _text(part, "text", where)}
    if isinstance(part, Mapping) and kind == "refusal":
        return {"type": "text", "text": _text(part, "refusal", where)}
    raise BodyError(f"{where}: expected a part of type input_text or output_text, found {shown(kind)}", "input")


def _text(item: Mapping[str, Any], name: str, where: str) -> str:
    found = item.get(name)
    if not isinstance(found, str):
        raise BodyError(f"{where}.{name}: expected a string, found {shown(found)}", "input")
    return found
