"""From a request to its events: the answers run together with those of all other clients, and end with their own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Literal

from qwen3edge.errors import ContextError
from qwen3edge.generation.answer import Answer, TextChunk, Usage
from qwen3edge.generation.model import Model
from qwen3edge.generation.options import Options
from qwen3edge.server import request_log
from qwen3edge.server.clients import to_its_end
from qwen3edge.server.errors import StoppingError
from qwen3edge.server.events import (
    ArgumentsDelta,
    CallBegun,
    CallEnded,
    ContentDelta,
    Event,
    Failed,
    Finished,
    Logprobs,
    PromptLogprobs,
    ReasoningDelta,
    Started,
)
from qwen3edge.server.hosted import Lease, Models
from qwen3edge.server.request import AnswerRequest
from qwen3edge.text.prompt import Input

_PROMPT = ("thinking", "tools", "raw", "tags_as_text", "template_variables")
"""The options that a prompt depends on."""


class Answers:
    """The answers to one request. Whoever has them reads `events` once, and awaits `aclose` in any case."""

    def __init__(self, lease: Lease, answers: Sequence[Answer], request: AnswerRequest, number: int) -> None:
        """Use `begin`. number: of the request in the log."""
        self.model = lease.model
        self.model_name = lease.name
        self._lease, self._answers, self._one_call = lease, answers, request.one_call
        self._prompt_logprobs = bool(request.options.get("prompt_logprobs"))
        self._number, self._counted = number, set[int]()

    @classmethod
    async def begin(cls, models: Models, request: AnswerRequest) -> Answers:
        """Queues the answers. A model that is not in memory is loaded first; the prompt is made in a thread, as a large
        one takes a while. Raises what `Models.lease` and `Model.generate_batch` raise.
        """
        lease, number = await models.lease(request.model), request_log.next_number()
        try:
            answers = await models.reading(lambda: _started(lease.model, request, number), _close)
        except BaseException:
            lease.release()
            raise
        return cls(lease, answers, request, number)

    @property
    def prompts(self) -> list[Sequence[int]]:
        """Of each answer the ids of its prompt."""
        return [answer.prompt for answer in self._answers]

    async def events(self) -> AsyncGenerator[Event, None]:
        """Those of all answers, as they come. What goes wrong comes as `Failed`, which ends them."""
        streams = [self._events_of(choice, answer) for choice, answer in enumerate(self._answers)]
        async with contextlib.aclosing(streams[0] if len(streams) == 1 else _merged(streams)) as merged:
            async for event in merged:
                yield event
                if isinstance(event, Failed):
                    return

    def usage(self, choice: int) -> Usage:
        """Of one of the answers, so far."""
        return self._answers[choice].usage

    async def aclose(self) -> None:
        """Ends what still runs; when it returns, the model computes nothing for this request."""
        try:
            if any(answer.finish_reason is None for answer in self._answers):
                await to_its_end(asyncio.to_thread(_close, self._answers))
            if request_log.is_on():
                await asyncio.to_thread(request_log.note_answers, self._number, self.model.tokenizer, self._answers)
        finally:
            for choice in range(len(self._answers)):
                self._count(choice)
            self._lease.release()

    def _count(self, choice: int) -> None:
        """Once, however it ended."""
        if choice not in self._counted:
            self._counted.add(choice)
            self._lease.count(self._answers[choice].usage)

    async def _events_of(self, choice: int, answer: Answer) -> AsyncGenerator[Event, None]:
        yield Started(choice, answer.usage.prompt_tokens)
        told, called, ended, read = 0, False, False, not self._prompt_logprobs
        try:
            async for piece in answer:
                if not read:
                    yield PromptLogprobs(choice, tuple(answer.prompt_logprobs))
                    read = True
                if len(answer.logprobs) > told:
                    yield Logprobs(choice, tuple(answer.logprobs[told:]))
                    told = len(answer.logprobs)
                event = _event(choice, piece)
                yield event
                called |= isinstance(event, CallEnded) and event.state == "complete"
                if called and self._one_call:
                    await answer.aclose()
                    ended = True
                    break
        except Exception as error:  # its adapter tells the client
            yield Failed(choice, error)
            return
        if answer.finish_reason == "cancelled" and not ended:
            yield Failed(choice, StoppingError())
            return
        if not read:
            yield PromptLogprobs(choice, tuple(answer.prompt_logprobs))
        if len(answer.logprobs) > told and not ended:
            yield Logprobs(choice, tuple(answer.logprobs[told:]))
        self._count(choice)
        usage, broken = answer.usage, len(answer.broken_calls)
        if answer.cut_by is not None and not ended:
            by: Literal["context", "max_tokens"] = "context" if answer.cut_by == "context" else "max_tokens"
            yield Finished(choice, "length", by, usage, broken_calls=broken)
        else:
            yield Finished(choice, "tool_calls" if called else "stop", None, usage, answer.stop_string, broken)


async def prompt_tokens(models: Models, request: AnswerRequest) -> tuple[Model, list[int]]:
    """The prompt that the answers would have, and of which model. Raises as `begin`, but for a prompt that does not
    fit."""
    lease = await models.lease(request.model)
    try:
        options = request.options_for(lease.model)
        return lease.model, await models.reading(lambda: _prompt(lease.model, request.input, options))
    finally:
        lease.release()


def _started(model: Model, request: AnswerRequest, number: int) -> list[Answer]:
    options = request.options_for(model)
    if request.context is not None and request.context < model.plan.context:
        longest = max(len(_prompt(model, each, options)) for each in request.inputs)
        options = _within(request.context, longest, options)
    answers = model.generate_batch(request.inputs, request.n, **options)
    for answer in answers[:: request.n]:
        request_log.note_tokens(number, "prompt", model.tokenizer, answer.prompt)
    return answers


def _prompt(model: Model, given: Input, options: Options) -> list[int]:
    made = {name: options[name] for name in _PROMPT if name in options}  # type: ignore[literal-required]
    return model.tokens_of(given, **made)


def _within(context: int, prompt: int, options: Options) -> Options:
    """The options of an answer to a prompt of so many tokens. Raises ContextError."""
    left = context - prompt
    if left <= 0:
        raise ContextError(
            f"expected a prompt of fewer than {context} tokens, which the request allows, found {prompt}: allow more, "
            "or leave out the oldest messages",
            tokens=prompt,
            context=context,
        )
    asked = options.get("max_tokens")
    return {**options, "max_tokens": left if asked is None else min(asked, left)}


def _close(answers: Sequence[Answer]) -> None:
    for answer in answers:
        answer.close()


def _event(choice: int, piece: TextChunk) -> Event:
    call, what = piece.call, piece.call_event
    if call is None or what is None:
        return ReasoningDelta(choice, piece) if piece.reasoning else ContentDelta(choice, piece)
    if what == "begun":
        return CallBegun(choice, call.index, call.id, call.name)
    if what == "arguments":
        return ArgumentsDelta(choice, call.index, piece)
    return CallEnded(choice, call.index, call.id, call.name, call.arguments, what)


async def _merged(streams: Sequence[AsyncGenerator[Event, None]]) -> AsyncGenerator[Event, None]:
    """What comes first of any, first. Each is asked for its next event once the last was taken."""
    waiting = {asyncio.ensure_future(stream.__anext__()): stream for stream in streams}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in [each for each in waiting if each in done]:
                stream = waiting.pop(task)
                with contextlib.suppress(StopAsyncIteration):
                    event = task.result()
                    waiting[asyncio.ensure_future(stream.__anext__())] = stream
                    yield event
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
