"""Embeddings and scores of documents, computed along with other clients' answers."""

from __future__ import annotations

import struct
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from qwen3edge import checks
from qwen3edge.errors import RequestError
from qwen3edge.generation.answer import Usage
from qwen3edge.generation.embedding import Judge, awaited_states, normalized
from qwen3edge.generation.model import Model
from qwen3edge.generation.session import checked_tokens
from qwen3edge.server import request_log
from qwen3edge.server.hosted import Models
from qwen3edge.text.pooled import RERANK_INSTRUCTION, RerankPrompts, embedding_tokens, ended_tokens, yes_and_no

MOST_TEXTS = 2048
"""Of a request: OpenAI's bound."""
MOST_NUMBERS = 1 << 22
"""Of a request's embeddings, which take 4 bytes each until they are sent."""


@dataclass
class Embedded:
    """Of one request's texts. model: its name. vectors: packed little-endian float32 [dimensions]. tokens: of all."""

    model: str
    dimensions: int
    vectors: list[bytes] = field(default_factory=list)
    tokens: int = 0


@dataclass
class Scored:
    """Documents of one request: how likely each is right, from 0 to 1. tokens: of all prompts."""

    model: str
    scores: list[float] = field(default_factory=list)
    tokens: int = 0


async def embed(
    models: Models, name: str | None, texts: Sequence[str | Sequence[int]], dimensions: int | None = None
) -> Embedded:
    """As `Model.embed`, of texts or of their tokens. Cancelling it ends it within a step. Raises as `Models.lease` and
    `Model.embed`, RequestError for more numbers than a response may have.
    """
    lease, number = await models.lease(name), request_log.next_number()
    found = Embedded(lease.name, 0)
    try:
        model = lease.model
        size = model.config.hidden_size
        kept = size if dimensions is None else checks.whole("dimensions", dimensions, 1, size)
        if len(texts) * kept > MOST_NUMBERS:
            raise RequestError(
                f"input: expected embeddings of at most {MOST_NUMBERS} numbers together, found {len(texts)} of {kept}: "
                "send fewer texts at a time, or ask for fewer dimensions"
            )
        found.dimensions = kept

        def read(index: int) -> list[int]:
            tokens = _embedding_prompt(model, f"input[{index}]", texts[index])
            found.tokens += len(tokens)
            request_log.note_tokens(number, "text", model.tokenizer, tokens)
            return tokens

        async with aclosing(_states(models, model, len(texts), read)) as states:
            async for state in states:
                found.vectors.append(struct.pack(f"<{kept}f", *normalized(state, kept)))
        return found
    finally:
        lease.count(_only_read(found.tokens))
        lease.release()


async def rerank(
    models: Models, name: str | None, query: str, documents: Sequence[str], instruction: str | None = None
) -> Scored:
    """As `Model.rerank`. Cancelling it ends it within a step. Raises as `Models.lease` and `Model.rerank`."""
    lease, number = await models.lease(name), request_log.next_number()
    model, found = lease.model, Scored(lease.name)
    try:
        judge, questions = await models.reading(lambda: _judging(model, query, instruction or RERANK_INSTRUCTION))

        def read(index: int) -> list[int]:
            tokens = questions.tokens(f"documents[{index}]", documents[index])
            found.tokens += len(tokens)
            request_log.note_tokens(number, "text", model.tokenizer, tokens)
            return tokens

        async with aclosing(_states(models, model, len(documents), read)) as states:
            async for state in states:
                found.scores.append(judge.score(state))
        return found
    finally:
        lease.count(_only_read(found.tokens))
        lease.release()


def _only_read(tokens: int) -> Usage:
    """Of prompts without answers."""
    return Usage(tokens, 0, 0, 0, 0.0, 0.0, 0.0, 0)


def _judging(model: Model, query: str, instruction: str) -> tuple[Judge, RerankPrompts]:
    judge = Judge(model.engine, *yes_and_no(model.tokenizer))
    return judge, RerankPrompts(model.tokenizer, query, instruction, model.plan.context)


def _embedding_prompt(model: Model, name: str, text: str | Sequence[int]) -> list[int]:
    context = model.plan.context
    if isinstance(text, str):
        return embedding_tokens(model.tokenizer, name, text, None, context)
    tokens = checked_tokens(text, model.config.vocab_size, context)
    return ended_tokens(model.tokenizer, name, tokens, context)


async def _states(
    models: Models, model: Model, count: int, read: Callable[[int], list[int]]
) -> AsyncGenerator[list[float], None]:
    """Of each prompt in turn. read: makes one, in the thread that reads all requests; half of the sequences stay free
    for others.
    """

    async def prompts() -> AsyncGenerator[list[int], None]:
        for index in range(count):
            yield await models.reading(lambda index=index: read(index))  # type: ignore[misc]

    at_once = max(model.plan.sequences // 2, 1)
    async with aclosing(prompts()) as made, aclosing(awaited_states(model.engine, made, at_once)) as states:
        async for state in states:
            yield state
