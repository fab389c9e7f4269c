"""How probable tokens were, as OpenAI's API says it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from qwen3edge.generation.answer import TokenLogprob
from qwen3edge.text.tokenizer import Tokenizer

_LEAST = -9999.0
"""OpenAI's word for a token that cannot come; infinity is no JSON."""


def content_logprobs(tokenizer: Tokenizer, tokens: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    """Of tokens of the answer, in order."""
    return [
        {
            **_token(tokenizer, each.token, each.logprob),
            "top_logprobs": [_token(tokenizer, token, logprob) for token, logprob in each.top],
        }
        for each in tokens
    ]


def finite(logprob: float) -> float:
    """A token that was appended and not picked, as those that end thoughts at their budget, was sure to come."""
    return 0.0 if math.isnan(logprob) else max(logprob, _LEAST)


def _token(tokenizer: Tokenizer, token: int, logprob: float) -> dict[str, Any]:
    found = b"" if token >= tokenizer.vocabulary_size else tokenizer.token_bytes(token)
    return {"token": found.decode("utf-8", "replace"), "logprob": finite(logprob), "bytes": list(found)}
