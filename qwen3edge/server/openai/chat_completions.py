"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qwen3edge.generation.answer import TokenLogprob
from qwen3edge.server.answering import Answers
from qwen3edge.server.collected import Collected
from qwen3edge.server.errors import problem
from qwen3edge.server.events import (
    ArgumentsDelta,
    CallBegun,
    ContentDelta,
    Failed,
    Finished,
    Logprobs,
    ReasoningDelta,
    Started,
    whole_calls,
)
from qwen3edge.server.openai.chat_body import ChatBody
from qwen3edge.server.openai.errors import error_body
from qwen3edge.server.openai.head import DONE, head
from qwen3edge.server.openai.logprobs import content_logprobs
from qwen3edge.server.openai.usage import timings_of, usage_of
from qwen3edge.server.route import post, router
from qwen3edge.server.service import service
from qwen3edge.server.sse import JsonResponse, Streamed, data
from qwen3edge.server.tools import left_out, own_tools

routes = router("OpenAI")


@post(routes, ChatBody, "/v1/chat/completions", "/chat/completions")
async def chat_completions(request: Request) -> Response:
    """One answer to a conversation, or several."""
    to = service(request)
    body = await to.read(request, ChatBody)
    asked, headers = body.request(), left_out(own_tools(body.tools)[1])
    if not body.stream:
        answers, found = await to.answer(request, asked)
        return JsonResponse(_completion(answers, found, logprobs=bool(body.logprobs)), headers=headers)
    options = body.stream_options
    with_usage, with_logprobs = options is not None and options.include_usage, bool(body.logprobs)
    so_far = options is not None and options.continuous_usage_stats
    answers = await to.begin(request, asked)
    return Streamed(
        answers,
        lambda answers: _chunks(answers, usage=with_usage, so_far=so_far, logprobs=with_logprobs),
        failed=lambda error: data(error_body(problem(error))),
        headers=headers,
    )


def _completion(answers: Answers, found: list[Collected], *, logprobs: bool) -> dict[str, Any]:
    usages = [each.finished.usage for each in found]
    return {
        **head(answers.model_name, "chat.completion", "chatcmpl-"),
        "choices": [_choice(answers, each, logprobs=logprobs) for each in found],
        "usage": usage_of(usages),
        "timings": timings_of(usages, sum(each.finished.broken_calls for each in found)),
    }


def _choice(answers: Answers, found: Collected, *, logprobs: bool) -> dict[str, Any]:
    thoughts = found.reasoning or None
    calls = {"tool_calls": [_call(each.id, each.name, each.arguments) for each in found.calls]} if found.calls else {}
    return {
        "index": found.finished.choice,
        "message": {
            "role": "assistant",
            "content": None if found.calls and not found.content else found.content,
            "refusal": None,
            "reasoning_content": thoughts,
            "reasoning": thoughts,
            **calls,
        },
        "logprobs": _logprobs(answers, found.logprobs) if logprobs else None,
        "finish_reason": found.finished.reason,
    }


async def _chunks(answers: Answers, *, usage: bool, so_far: bool, logprobs: bool) -> AsyncGenerator[bytes, None]:
    begin = head(answers.model_name, "chat.completion.chunk", "chatcmpl-")
    ended: dict[int, Finished] = {}
    waiting: dict[int, list[TokenLogprob]] = {}  # of tokens whose text comes next

    def chunk(choice: int, delta: dict[str, Any], reason: str | None = None) -> bytes:
        told = _logprobs(answers, waiting.pop(choice, [])) if logprobs else None
        found = {"index": choice, "delta": delta, "logprobs": told, "finish_reason": reason}
        used = usage_of([answers.usage(choice)]) if so_far else None
        return data({**begin, "choices": [found], **({"usage": used} if usage else {})})

    async with aclosing(whole_calls(answers.events())) as events:
        async for event in events:
            if isinstance(event, Started):
                yield chunk(event.choice, {"role": "assistant", "content": ""})
            elif isinstance(event, ReasoningDelta):
                yield chunk(event.choice, {"reasoning_content": event.text, "reasoning": event.text})
            elif isinstance(event, ContentDelta):
                yield chunk(event.choice, {"content": event.text})
            elif isinstance(event, CallBegun):
                call = {"index": event.index, **_call(event.id, event.name, "")}
                yield chunk(event.choice, {"tool_calls": [call]})
            elif isinstance(event, ArgumentsDelta):
                part = {"index": event.index, "function": {"arguments": event.text}}
                yield chunk(event.choice, {"tool_calls": [part]})
            elif isinstance(event, Logprobs):
                waiting.setdefault(event.choice, []).extend(event.tokens)
            elif isinstance(event, Finished):
                ended[event.choice] = event
                yield chunk(event.choice, {}, event.reason)
            elif isinstance(event, Failed):
                raise event.error
    if usage:
        usages = [ended[choice].usage for choice in sorted(ended)]
        timings = timings_of(usages, sum(each.broken_calls for each in ended.values()))
        yield data({**begin, "choices": [], "usage": usage_of(usages), "timings": timings})
    yield DONE


def _logprobs(answers: Answers, tokens: list[TokenLogprob]) -> dict[str, Any]:
    return {"content": content_logprobs(answers.model.tokenizer, tokens), "refusal": None}


def _call(identity: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}
