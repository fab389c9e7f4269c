"""Answers as Ollama's API tells them: a JSON object a line, the last of which is done; or all of it in one."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from qwen3edge.generation.answer import TokenLogprob, Usage
from qwen3edge.server.answering import Answers
from qwen3edge.server.events import (
    CallEnded,
    ContentDelta,
    Failed,
    Finished,
    Logprobs,
    ReasoningDelta,
    whole_calls,
)
from qwen3edge.server.openai.logprobs import content_logprobs
from qwen3edge.server.sse import to_json

NDJSON = "application/x-ndjson"


@dataclass
class Piece:
    """Of an answer, or all of it."""

    content: str = ""
    thinking: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)


Form = Callable[[Piece], dict[str, Any]]
"""A piece as an endpoint has it."""


def chat_form(piece: Piece) -> dict[str, Any]:
    """Of /api/chat."""
    message: dict[str, Any] = {"role": "assistant", "content": piece.content}
    if piece.thinking:
        message["thinking"] = piece.thinking
    if piece.calls:
        message["tool_calls"] = piece.calls
    return {"message": message, **({"logprobs": piece.logprobs} if piece.logprobs else {})}


def text_form(piece: Piece) -> dict[str, Any]:
    """Of /api/generate."""
    thinking = {"thinking": piece.thinking} if piece.thinking else {}
    return {"response": piece.content, **thinking, **({"logprobs": piece.logprobs} if piece.logprobs else {})}


@dataclass(frozen=True)
class Told:
    """How an answer is told. asked: when it was asked for, by `time.monotonic`."""

    form: Form
    asked: float
    loaded: float = field(default_factory=time.monotonic)

    async def lines(self, answers: Answers) -> AsyncGenerator[bytes, None]:
        """Of a stream. Raises what went wrong."""
        async with aclosing(_pieces(answers)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Finished):
                    yield line({**head(answers.model_name), **self.form(Piece()), **self._end(piece)})
                else:
                    yield line({**head(answers.model_name), **self.form(piece), "done": False})

    async def whole(self, answers: Answers) -> dict[str, Any]:
        """All at once. Raises what went wrong."""
        found: list[Piece] = []
        end: dict[str, Any] = {}
        async with aclosing(_pieces(answers)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Finished):
                    end = self._end(piece)
                else:
                    found.append(piece)
        joined = Piece(
            "".join([piece.content for piece in found]),
            "".join([piece.thinking for piece in found]),
            [call for piece in found for call in piece.calls],
            [each for piece in found for each in piece.logprobs],
        )
        return {**head(answers.model_name), **self.form(joined), **end}

    def idle(self, model: str) -> bytes:
        """A line that says nothing, for clients that wait."""
        return line({**head(model), **self.form(Piece()), "done": False})

    def _end(self, finished: Finished) -> dict[str, Any]:
        usage: Usage = finished.usage
        return {
            "done": True,
            "done_reason": "length" if finished.reason == "length" else "stop",
            "total_duration": nanoseconds(time.monotonic() - self.asked),
            "load_duration": nanoseconds(self.loaded - self.asked),
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": nanoseconds(usage.prefill_seconds),
            "eval_count": usage.completion_tokens,
            "eval_duration": nanoseconds(usage.decode_seconds),
        }


def head(model: str) -> dict[str, Any]:
    """Of every line. model: by the name by which it was asked for."""
    return {"model": model, "created_at": moment(time.time())}


def moment(seconds: float) -> str:
    """Since 1970, as RFC 3339 has it."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def nanoseconds(seconds: float) -> int:
    """In which Ollama counts."""
    return int(seconds * 1e9)


def line(value: object) -> bytes:
    """Of a stream."""
    return f"{to_json(value)}\n".encode("utf-8", "replace")


async def _pieces(answers: Answers) -> AsyncGenerator[Piece | Finished, None]:
    waiting: list[TokenLogprob] = []  # whose text comes next

    def told() -> list[dict[str, Any]]:
        found = content_logprobs(answers.model.tokenizer, waiting)
        waiting.clear()
        return found

    async with aclosing(whole_calls(answers.events())) as events:
        async for event in events:
            if isinstance(event, ReasoningDelta):
                yield Piece(thinking=event.text, logprobs=told())
            elif isinstance(event, ContentDelta):
                yield Piece(event.text, logprobs=told())
            elif isinstance(event, CallEnded):
                yield Piece(calls=[_call(event)], logprobs=told())
            elif isinstance(event, Logprobs):
                waiting += event.tokens
            elif isinstance(event, Failed):
                raise event.error
            elif isinstance(event, Finished):
                if waiting:
                    yield Piece(logprobs=told())
                yield event


def _call(call: CallEnded) -> dict[str, Any]:
    function = {"index": call.index, "name": call.name, "arguments": json.loads(call.arguments)}
    return {"id": call.id, "function": function}
