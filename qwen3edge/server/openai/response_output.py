"""A response on its way: the events that tell of it, and the object that they build, whoever reads along."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

from qwen3edge.generation.answer import TokenLogprob, Usage
from qwen3edge.server.answering import Answers
from qwen3edge.server.errors import problem
from qwen3edge.server.events import (
    ArgumentsDelta,
    CallBegun,
    CallEnded,
    ContentDelta,
    Failed,
    Finished,
    Logprobs,
    ReasoningDelta,
    Started,
    whole_calls,
)
from qwen3edge.server.openai.head import identity
from qwen3edge.server.openai.logprobs import content_logprobs
from qwen3edge.server.openai.response_body import ResponsesBody
from qwen3edge.server.openai.usage import timings_of

Status = Literal["completed", "incomplete"]


@dataclass(frozen=True)
class _Kind:
    """Of an item that is text. place: of its part, in the item; event, part_event: what events of it are called."""

    item: dict[str, Any]
    prefix: str
    place: str
    part: dict[str, Any]
    event: str
    part_event: str
    index: str


_MESSAGE = _Kind(
    {"type": "message", "role": "assistant", "content": []},
    "msg_", "content", {"type": "output_text", "annotations": [], "logprobs": []},
    "output_text", "content_part", "content_index",
)  # fmt: skip
_THOUGHTS = _Kind(
    {"type": "reasoning", "summary": [], "content": [], "encrypted_content": None},
    "rs_", "content", {"type": "reasoning_text"}, "reasoning_text", "content_part", "content_index",
)  # fmt: skip
_SUMMARY = _Kind(
    {"type": "reasoning", "summary": [], "encrypted_content": None},
    "rs_", "summary", {"type": "summary_text"}, "reasoning_summary_text", "reasoning_summary_part", "summary_index",
)  # fmt: skip


@dataclass
class _Item:
    """One that has begun."""

    kind: _Kind
    id: str
    texts: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)


class ResponseOutput:
    """Of one request."""

    def __init__(self, body: ResponsesBody, answers: Answers) -> None:
        self._answers, self._logprobs = answers, body.with_logprobs
        self._thoughts = _SUMMARY if body.tells_summary else _THOUGHTS
        self._number = 0
        self._item: _Item | None = None
        self._called: dict[str, Any] = {}  # of a call that has begun
        self._waiting: list[TokenLogprob] = []  # of tokens whose text comes next
        self.response: dict[str, Any] = _response(body, answers.model_name)
        """As far as it has come."""

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """All of them, once. Raises what goes wrong with the answer."""
        async with aclosing(whole_calls(self._answers.events())) as events:
            async for event in events:
                if isinstance(event, Started):
                    yield self._event("created", response={**self.response})
                    yield self._event("in_progress", response={**self.response})
                elif isinstance(event, Logprobs):
                    marks = self._answers.model.tokenizer.marks
                    self._waiting += [each for each in event.tokens if each.token not in marks]
                elif isinstance(event, ReasoningDelta | ContentDelta):
                    kind = _MESSAGE if isinstance(event, ContentDelta) else self._thoughts
                    for told in self._text(kind, event.text):
                        yield told
                elif isinstance(event, CallBegun | ArgumentsDelta | CallEnded):
                    for told in self._call(event):
                        yield told
                elif isinstance(event, Finished):
                    for told in self._finish(event):
                        yield told
                elif isinstance(event, Failed):
                    raise event.error

    async def whole(self) -> dict[str, Any]:
        """The response, at its end. Raises as `events`."""
        async with aclosing(self.events()) as events:
            async for _ in events:
                pass
        return self.response

    def failed(self, error: Exception) -> dict[str, Any]:
        """The last event, where something went wrong."""
        found = problem(error)
        code = "rate_limit_exceeded" if found.status == 429 else "server_error"
        self.response |= {"status": "failed", "error": {"code": code, "message": found.message}}
        return self._event("failed", response=self.response)

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        event = {"type": f"response.{kind}", "sequence_number": self._number, **fields}
        self._number += 1
        return event

    @property
    def _place(self) -> int:
        return len(self.response["output"])

    def _text(self, kind: _Kind, text: str) -> Iterator[dict[str, Any]]:
        if self._item is None or self._item.kind is not kind:
            yield from self._end_item("completed")
            yield from self._begin_item(kind)
        assert self._item is not None
        self._item.texts.append(text)
        more: dict[str, Any] = {}
        if kind is _MESSAGE:
            more["logprobs"] = content_logprobs(self._answers.model.tokenizer, self._waiting) if self._logprobs else []
            self._item.logprobs += more["logprobs"]
        self._waiting = []
        yield self._event(f"{kind.event}.delta", **self._of_part(self._item), delta=text, **more)

    def _of_part(self, item: _Item) -> dict[str, Any]:
        return {"item_id": item.id, "output_index": self._place, item.kind.index: 0}

    def _begin_item(self, kind: _Kind) -> Iterator[dict[str, Any]]:
        self._item = item = _Item(kind, identity(kind.prefix))
        begun = {"id": item.id, **kind.item, "status": "in_progress"}
        yield self._event("output_item.added", output_index=self._place, item=begun)
        yield self._event(f"{kind.part_event}.added", **self._of_part(item), part={**kind.part, "text": ""})

    def _end_item(self, status: Status) -> Iterator[dict[str, Any]]:
        item, self._item = self._item, None
        if item is None:
            return
        kind, text = item.kind, "".join(item.texts)
        more = {"logprobs": item.logprobs} if kind is _MESSAGE else {}
        part = {**kind.part, "text": text, **more}
        yield self._event(f"{kind.event}.done", **self._of_part(item), text=text, **more)
        yield self._event(f"{kind.part_event}.done", **self._of_part(item), part=part)
        yield self._done({"id": item.id, **kind.item, kind.place: [part], "status": status})

    def _done(self, item: dict[str, Any]) -> dict[str, Any]:
        event = self._event("output_item.done", output_index=self._place, item=item)
        self.response["output"].append(item)
        return event

    def _call(self, event: CallBegun | ArgumentsDelta | CallEnded) -> Iterator[dict[str, Any]]:
        """Of a call whose three events come one after the other."""
        if isinstance(event, CallBegun):
            yield from self._end_item("completed")
            self._waiting = []
            self._called = {"id": identity("fc_"), "type": "function_call", "call_id": event.id, "name": event.name}
            begun = {**self._called, "arguments": "", "status": "in_progress"}
            yield self._event("output_item.added", output_index=self._place, item=begun)
            return
        where = {"item_id": self._called["id"], "output_index": self._place}
        if isinstance(event, ArgumentsDelta):
            yield self._event("function_call_arguments.delta", **where, delta=event.text)
            return
        arguments = {"arguments": event.arguments}
        yield self._event("function_call_arguments.done", **where, name=event.name, **arguments)
        yield self._done({**self._called, **arguments, "status": "completed"})

    def _finish(self, event: Finished) -> Iterator[dict[str, Any]]:
        status: Status = "completed" if event.cut_by is None else "incomplete"
        yield from self._end_item(status)
        if not self.response["output"]:  # a client that looks for a text finds one
            yield from self._begin_item(_MESSAGE)
            yield from self._end_item(status)
        timings = timings_of([event.usage], event.broken_calls)
        self.response |= {"status": status, "usage": _usage(event.usage), "timings": timings}
        if status == "completed":
            self.response["completed_at"] = int(time.time())
        else:
            self.response["incomplete_details"] = {"reason": "max_output_tokens"}
        yield self._event(status, response=self.response)


def _usage(usage: Usage) -> dict[str, Any]:
    prompt, cached = usage.prompt_tokens, usage.cached_tokens
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": prompt - cached},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": prompt + usage.completion_tokens,
    }


def _response(body: ResponsesBody, model: str) -> dict[str, Any]:
    """Before the first token: what was asked for, as OpenAI's API says it back."""
    asked = body.reasoning
    form = body.text.format if body.text else None
    return {
        "id": identity("resp_"),
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "model": model,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls,
        "previous_response_id": None,
        "reasoning": {"effort": asked.effort if asked else None, "summary": asked.summary if asked else None},
        "store": False,
        "temperature": body.temperature,
        "text": {"format": {"type": "text"} if form is None else form.model_dump(by_alias=True, exclude_none=True)},
        "tool_choice": body.tool_choice or "auto",
        "tools": body.functions,
        "top_logprobs": body.top_logprobs or 0,
        "top_p": body.top_p,
        "truncation": body.truncation,
        "usage": None,
        "user": None,
        "metadata": body.metadata or {},
    }
