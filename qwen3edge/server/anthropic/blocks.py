"""Answers as Anthropic's API tells them: blocks of thoughts, text and calls, one after the other; and whole."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import aclosing
from typing import Any

from qwen3edge.generation.answer import Usage
from qwen3edge.server.answering import Answers
from qwen3edge.server.events import (
    ArgumentsDelta,
    CallBegun,
    CallEnded,
    ContentDelta,
    Failed,
    Finished,
    ReasoningDelta,
    Started,
    whole_calls,
)

SIGNATURE = "qwen3edge"
"""Of thoughts. Nothing is signed, but clients do not send back thoughts without any."""

_EMPTY: dict[str, dict[str, Any]] = {"thinking": {"thinking": "", "signature": ""}, "text": {"text": ""}}
_LENGTH = {"max_tokens": "max_tokens", "context": "model_context_window_exceeded"}


class Blocks:
    """The events of one answer's blocks: one is closed before the next begins."""

    def __init__(self, *, thoughts: bool) -> None:
        """thoughts: whether they are sent; a block tells of them in any case."""
        self._thoughts = thoughts
        self._begun = 0
        self._open: str | None = None  # the type of the block that is

    def of(self, event: object) -> Iterator[dict[str, Any]]:
        """Those of one event of the answer."""
        if isinstance(event, ReasoningDelta):
            yield from self._in("thinking")
            if self._thoughts:
                yield self._delta("thinking_delta", thinking=event.text)
        elif isinstance(event, ContentDelta):
            yield from self._in("text")
            yield self._delta("text_delta", text=event.text)
        elif isinstance(event, CallBegun):
            yield from self.close()
            yield self._start("tool_use", {"id": event.id, "name": event.name, "input": {}})
        elif isinstance(event, ArgumentsDelta):
            yield self._delta("input_json_delta", partial_json=event.text)
        elif isinstance(event, CallEnded):
            yield from self.close()

    def close(self) -> Iterator[dict[str, Any]]:
        """Of the block that is open."""
        if self._open == "thinking":
            yield self._delta("signature_delta", signature=SIGNATURE)
        if self._open is not None:
            yield {"type": "content_block_stop", "index": self._begun - 1}
        self._open = None

    def _in(self, kind: str) -> Iterator[dict[str, Any]]:
        if self._open != kind:
            yield from self.close()
            yield self._start(kind, _EMPTY[kind])

    def _start(self, kind: str, block: dict[str, Any]) -> dict[str, Any]:
        self._open = kind
        self._begun += 1
        return {"type": "content_block_start", "index": self._begun - 1, "content_block": {"type": kind, **block}}

    def _delta(self, kind: str, **what: str) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self._begun - 1, "delta": {"type": kind, **what}}


async def events_of(
    answers: Answers, *, thoughts: bool, eager: Collection[str] = ()
) -> AsyncGenerator[dict[str, Any], None]:
    """Those of a message with the one answer. eager: names of tools whose input is told as it comes. Raises what went
    wrong.
    """
    blocks = Blocks(thoughts=thoughts)
    async with aclosing(whole_calls(answers.events(), eager)) as events:
        async for event in events:
            if isinstance(event, Started):
                yield {"type": "message_start", "message": _message(answers.model_name, event.prompt_tokens)}
            elif isinstance(event, Finished):
                for each in blocks.close():
                    yield each
                yield {"type": "message_delta", "delta": _end(event), "usage": _usage(event.usage)}
                yield {"type": "message_stop"}
            elif isinstance(event, Failed):
                raise event.error
            else:
                for each in blocks.of(event):
                    yield each


async def whole(events: AsyncGenerator[dict[str, Any], None]) -> dict[str, Any]:
    """The message that a client makes of its events."""
    message: dict[str, Any] = {}
    arguments: list[str] = []
    async with aclosing(events):
        async for event in events:
            if event["type"] == "message_start":
                message = event["message"]
            elif event["type"] == "content_block_start":
                message["content"].append(dict(event["content_block"]))
                arguments = []
            elif event["type"] == "content_block_delta":
                block, (_, (name, text)) = message["content"][-1], event["delta"].items()
                if name == "partial_json":
                    arguments.append(text)
                else:
                    block[name] += text
            elif event["type"] == "content_block_stop" and arguments:
                message["content"][-1]["input"] = json.loads("".join(arguments))
            elif event["type"] == "message_delta":
                message |= {**event["delta"], "usage": event["usage"]}
    return message


def _message(model: str, prompt_tokens: int) -> dict[str, Any]:
    """At its beginning, when nobody knows yet what of the prompt is cached."""
    return {
        "id": f"msg_{os.urandom(12).hex()}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _counted(prompt_tokens, 0, 0, 0),
    }


def _end(event: Finished) -> dict[str, Any]:
    if event.cut_by is not None:
        reason = _LENGTH[event.cut_by]
    elif event.reason == "tool_calls":
        reason = "tool_use"
    else:
        reason = "end_turn" if event.stop_string is None else "stop_sequence"
    return {"stop_reason": reason, "stop_sequence": event.stop_string}


def _usage(usage: Usage) -> dict[str, Any]:
    return _counted(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, usage.reasoning_tokens)


def _counted(prompt: int, cached: int, completion: int, reasoning: int) -> dict[str, Any]:
    return {
        "input_tokens": prompt - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": completion,
        "output_tokens_details": {"thinking_tokens": reasoning},
    }
