"""What an answer took, as OpenAI's API counts it; and how long, which it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qwen3edge.generation.answer import Usage


def usage_of(usages: Sequence[Usage]) -> dict[str, Any]:
    """Of all answers to a request: their prompt counts once, with what was cached for the first of them."""
    prompt, completion = usages[0].prompt_tokens, sum(usage.completion_tokens for usage in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usages[0].cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": sum(usage.reasoning_tokens for usage in usages)},
    }


def timings_of(usages: Sequence[Usage]) -> dict[str, Any]:
    """Of the first answer, in seconds; and the seed with which all come again."""
    first = usages[0]
    return {
        "queue_seconds": first.queue_seconds,
        "prefill_seconds": first.prefill_seconds,
        "decode_seconds": first.decode_seconds,
        "prefill_tokens_per_second": first.prefill_tokens_per_second,
        "decode_tokens_per_second": first.decode_tokens_per_second,
        "seed": first.seed,
    }
