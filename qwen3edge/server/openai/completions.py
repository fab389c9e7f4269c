"""`POST /v1/completions`: texts that go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qwen3edge.generation.answer import TokenLogprob, Usage
from qwen3edge.server.answering import Answers
from qwen3edge.server.errors import BodyError, problem
from qwen3edge.server.events import ContentDelta, Failed, Finished, Logprobs, PromptLogprobs, Started
from qwen3edge.server.openai.completion_body import CompletionBody
from qwen3edge.server.openai.errors import error_body
from qwen3edge.server.openai.head import DONE, head
from qwen3edge.server.openai.logprobs import SideBySide
from qwen3edge.server.openai.usage import timings_of, usage_of
from qwen3edge.server.route import post, router
from qwen3edge.server.service import service
from qwen3edge.server.sse import JsonResponse, Streamed, data

MOST_PROMPT_LOGPROBS = 1 << 16
"""To one request, of prompts' tokens and of the most probable ones beside them: memory until they are told."""

_AT_ONCE = 2048  # tokens of a prompt, whose logarithms become JSON while other clients wait

routes = router("OpenAI")


@dataclass(frozen=True)
class Piece:
    """Of an answer. The last has a reason and what it took."""

    choice: int
    text: str = ""
    logprobs: dict[str, list[Any]] | None = None
    reason: str | None = None
    usage: Usage | None = None

    @property
    def form(self) -> dict[str, Any]:
        """As the API has it."""
        return {
            "index": self.choice, "text": self.text, "logprobs": self.logprobs, "finish_reason": self.reason
        }  # fmt: skip


@post(routes, CompletionBody, "/v1/completions", "/completions")
async def completions(request: Request) -> Response:
    """What follows a text, or each of several; with a suffix, what stands between the two."""
    to = service(request)
    body = await to.read(request, CompletionBody)
    asked = body.request()
    if body.suffix is not None:
        asked = await to.reading(request, body.model, body.middle)
    answers = await to.begin(request, asked)
    try:
        _require_few(answers, body)
    except BodyError:
        await answers.aclose()
        raise
    if not body.stream:
        return JsonResponse(await to.whole(request, answers, _completion(answers, body)))
    return Streamed(
        answers, lambda answers: _chunks(answers, body), failed=lambda error: data(error_body(problem(error)))
    )


def _require_few(answers: Answers, body: CompletionBody) -> None:
    if body.logprobs is None or not body.echo:
        return
    found = sum(len(prompt) for prompt in answers.prompts) * (1 + body.logprobs)
    if found > MOST_PROMPT_LOGPROBS:
        raise BodyError(
            f"logprobs: expected at most {MOST_PROMPT_LOGPROBS} of a request's prompts, found {found}: send fewer "
            "prompts at a time, or ask for fewer beside each token",
            "logprobs",
        )


async def _completion(answers: Answers, body: CompletionBody) -> dict[str, Any]:
    parts: dict[int, list[Piece]] = {}
    async with aclosing(_pieces(answers, body)) as pieces:
        async for piece in pieces:
            parts.setdefault(piece.choice, []).append(piece)
    choices = [parts[choice] for choice in sorted(parts)]
    usages = [each[-1].usage for each in choices if each[-1].usage is not None]
    return {
        **head(answers.model_name, "text_completion", "cmpl-"),
        "choices": [_joined(each) for each in choices],
        "usage": usage_of(usages, body.n),
        "timings": timings_of(usages),
    }


def _joined(parts: list[Piece]) -> dict[str, Any]:
    lists = [part.logprobs for part in parts if part.logprobs is not None]
    logprobs = {name: [each for part in lists for each in part[name]] for name in lists[0]} if lists else None
    return replace(parts[-1], text="".join([part.text for part in parts]), logprobs=logprobs).form


async def _chunks(answers: Answers, body: CompletionBody) -> AsyncGenerator[bytes, None]:
    begin = head(answers.model_name, "text_completion", "cmpl-")
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    usages: dict[int, Usage] = {}
    async with aclosing(_pieces(answers, body)) as pieces:
        async for piece in pieces:
            if piece.usage is not None:
                usages[piece.choice] = piece.usage
            yield data({**begin, "choices": [piece.form], **({"usage": None} if with_usage else {})})
    if with_usage:
        counted = [usages[choice] for choice in sorted(usages)]
        yield data({**begin, "choices": [], "usage": usage_of(counted, body.n), "timings": timings_of(counted)})
    yield DONE


async def _pieces(answers: Answers, body: CompletionBody) -> AsyncGenerator[Piece, None]:
    """Of all answers, as they come."""
    tokenizer, prompts = answers.model.tokenizer, answers.prompts
    asks = body.logprobs is not None
    lists = [SideBySide(tokenizer) for _ in prompts]
    waiting: dict[int, list[TokenLogprob]] = {}  # whose text comes next

    def told(choice: int) -> dict[str, list[Any]] | None:
        return lists[choice].of_answer(waiting.pop(choice, ())) if asks else None

    async with aclosing(answers.events()) as events:
        async for event in events:
            choice = event.choice
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Started) and body.echo and not asks:
                yield Piece(choice, tokenizer.decode(prompts[choice]))
            elif isinstance(event, PromptLogprobs):
                text: str = tokenizer.decode(prompts[choice])
                every = [TokenLogprob(prompts[choice][0], 0.0, ()), *event.tokens]
                for start in range(0, len(every), _AT_ONCE):
                    yield Piece(choice, text, lists[choice].of_prompt(every[start : start + _AT_ONCE], start))
                    text = ""
                    await asyncio.sleep(0)
                lists[choice].end_prompt()
            elif isinstance(event, Finished) and body.max_tokens == 0:
                yield Piece(choice, "", told(choice), "length", replace(event.usage, completion_tokens=0))
            elif isinstance(event, Finished):
                yield Piece(choice, "", told(choice), event.reason, event.usage)
            elif body.max_tokens == 0:
                continue
            elif isinstance(event, Logprobs):
                waiting.setdefault(choice, []).extend(event.tokens)
            elif isinstance(event, ContentDelta):
                yield Piece(choice, event.text, told(choice))
