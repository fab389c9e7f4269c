"""What an answer took, as OpenAI's API counts it; and how long, which it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qwen3edge.generation.answer import Usage


def usage_of(usages: Sequence[Usage], n: int | None = None) -> dict[str, Any]:
    """Of all answers to a request, n to each prompt, which counts once, with what was cached for its first answer.
    None: there is one prompt.
    """
    prompts = usages[:: n or len(usages)]
    prompt = sum(usage.prompt_tokens for usage in prompts)
    completion = sum(usage.completion_tokens for usage in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(usage.cached_tokens for usage in prompts)},
        "completion_tokens_details": {"reasoning_tokens": sum(usage.reasoning_tokens for usage in usages)},
    }


def timings_of(usages: Sequence[Usage], broken_calls: int = 0) -> dict[str, Any]:
    """Of the first answer, in seconds; the seed with which all come again; and of how many tool calls the text stayed
    content, because they were none.
    """
    first = usages[0]
    return {
        "queue_seconds": first.queue_seconds,
        "prefill_seconds": first.prefill_seconds,
        "decode_seconds": first.decode_seconds,
        "prefill_tokens_per_second": first.prefill_tokens_per_second,
        "decode_tokens_per_second": first.decode_tokens_per_second,
        "seed": first.seed,
        "broken_calls": broken_calls,
    }
