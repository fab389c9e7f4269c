"""Conversations and tools as Anthropic's clients write them, in the form that prompts are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from qwen3edge.errors import shown
from qwen3edge.server.errors import BodyError

BILLING = "x-anthropic-billing-header:"
"""What a block of Claude Code begins with that is new in each request: a prompt with it would be in no cache."""

_NAMES = {str: "a string", dict: "an object", list: "a list"}
Kind = TypeVar("Kind", str, dict[str, Any], list[Any])


def conversation(
    system: str | Sequence[Mapping[str, Any]] | None, messages: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Messages with roles and texts, thoughts and calls, and the results of each call on its own. Raises BodyError."""
    found = _system(system)
    for index, message in enumerate(messages):
        where, role = f"messages[{index}]", message.get("role")
        content = message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
            raise BodyError(f"expected {where}.content as a string or a list of blocks", f"{where}.content")
        if role == "assistant":
            found.append(_assistant(blocks, where))
        elif role in ("user", "system"):
            found += _said(role, blocks, where)
        else:
            raise BodyError(f"expected {where}.role as user, assistant or system, found {shown(role)}", f"{where}.role")
    if messages and messages[-1].get("role") == "assistant":
        raise BodyError(
            "messages: expected a message of the user at the end, found one of the assistant, which this server does "
            "not continue",
            "messages",
        )
    return found


def functions(tools: Sequence[Mapping[str, Any]] | None) -> tuple[list[dict[str, Any]], list[str]]:
    """The client's own tools as functions, and the types of those that Anthropic's servers run: no model here can call
    them. Raises BodyError.
    """
    own, others = [], []
    for index, tool in enumerate(tools or ()):
        where, kind = f"tools[{index}]", tool.get("type")
        if kind not in (None, "custom"):
            others.append(str(kind)[:60])
            continue
        if tool.get("input_examples"):
            raise BodyError(
                f"{where}.input_examples: expected none, which no template has a place for: put them into the "
                "description",
                f"{where}.input_examples",
            )
        description = {} if tool.get("description") is None else {"description": _part(tool, "description", str, where)}
        schema = _part(tool, "input_schema", dict, where)
        strict = {"strict": True} if tool.get("strict") else {}
        function = {"name": _part(tool, "name", str, where), **description, "parameters": schema, **strict}
        own.append({"type": "function", "function": function})
    return own, others


def eager_names(tools: Sequence[Mapping[str, Any]] | None) -> set[str]:
    """Of tools whose input a client wants to have as it comes, though what breaks off is no JSON then."""
    return {str(tool.get("name")) for tool in tools or () if tool.get("eager_input_streaming") is True}


def require_no_edits(management: object) -> None:
    """Of a conversation, before the model reads it, raises BodyError. Claude Code asks to have thoughts cleared, which
    templates do with those of earlier turns in any case.
    """
    edits = management.get("edits") if isinstance(management, Mapping) else None
    for index, edit in enumerate(edits if isinstance(edits, list) else ()):
        kind = edit.get("type") if isinstance(edit, Mapping) else None
        if not (isinstance(kind, str) and kind.startswith("clear_thinking_")):
            where = f"context_management.edits[{index}]"
            raise BodyError(
                f"{where}: expected clear_thinking_20251015, found {shown(kind)}: this server changes no conversation",
                where,
            )


def _system(system: str | Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    if system is None or isinstance(system, str):
        return [{"role": "system", "content": system}] if system else []
    texts = [_text(block, f"system[{index}]") for index, block in enumerate(system)]
    kept = [text for text in texts if not text.startswith(BILLING)]
    return [{"role": "system", "content": "\n".join(kept)}] if kept else []


def _assistant(blocks: Sequence[Mapping[str, Any]], where: str) -> dict[str, Any]:
    """Its texts are one again, as the model wrote it. What is redacted nobody here can read."""
    texts, thoughts, calls = [], [], []
    for index, block in enumerate(blocks):
        kind, place = block.get("type"), f"{where}.content[{index}]"
        if kind == "thinking":
            thoughts.append(_part(block, "thinking", str, place))
        elif kind == "tool_use":
            call = {"name": _part(block, "name", str, place), "arguments": _part(block, "input", dict, place)}
            calls.append({"type": "function", "id": _part(block, "id", str, place), "function": call})
        elif kind != "redacted_thinking":
            texts.append(_text(block, place, "text, thinking, redacted_thinking or tool_use"))
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _said(role: str, blocks: Sequence[Mapping[str, Any]], where: str) -> list[dict[str, Any]]:
    """What stands between results of tools is a message of its own."""
    found: list[dict[str, Any]] = []
    texts: list[str] = []
    for index, block in enumerate(blocks):
        place = f"{where}.content[{index}]"
        if block.get("type") != "tool_result":
            texts.append(_text(block, place, "text or tool_result"))
            continue
        if texts:
            found.append({"role": role, "content": "\n".join(texts)})
            texts = []
        result = {"role": "tool", "tool_call_id": _part(block, "tool_use_id", str, place)}
        found.append({**result, "content": _result(block, place)})
    return [*found, {"role": role, "content": "\n".join(texts)}] if texts or not found else found


def _result(block: Mapping[str, Any], where: str) -> str:
    content = block.get("content")
    if content is None or isinstance(content, str):
        text = content or ""
    else:
        parts = _part(block, "content", list, where)
        text = "\n".join(_text(part, f"{where}.content[{index}]") for index, part in enumerate(parts))
    return f"Error: {text}" if block.get("is_error") is True else text


def _text(block: Any, where: str, expected: str = "text") -> str:
    kind = block.get("type") if isinstance(block, Mapping) else None
    if kind != "text":
        raise BodyError(f"{where}: expected a block of type {expected}, found {shown(kind)}", where)
    return _part(block, "text", str, where)


def _part(block: Mapping[str, Any], name: str, kind: type[Kind], where: str) -> Kind:
    found = block.get(name)
    if not isinstance(found, kind):
        there = "none" if found is None else type(found).__name__
        raise BodyError(f"{where}.{name}: expected {_NAMES[kind]}, found {there}", f"{where}.{name}")
    return found
