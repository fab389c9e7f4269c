"""The middle of a text, from what stands before and behind it: what Qwen's coders were trained to fill in."""

from __future__ import annotations

from qwen3edge import checks
from qwen3edge.errors import UnsupportedModelError
from qwen3edge.text.plain import plain_tokens
from qwen3edge.text.tokenizer import Tokenizer

PREFIX, SUFFIX, MIDDLE = "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"
_ENDS = ("<|endoftext|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", PREFIX, SUFFIX, MIDDLE)


def middle_tokens(tokenizer: Tokenizer, prefix: object, suffix: object, limit: int) -> list[int]:
    """The prompt that asks for the middle. Names of tokens in the texts are text. limit: tokens of the context.

    Raises UnsupportedModelError for a vocabulary without the three tokens, ContextError, RequestError.
    """
    marks = [tokenizer.token_id(mark) for mark in (PREFIX, SUFFIX, MIDDLE)]
    before, behind, middle = marks
    if before is None or behind is None or middle is None:
        absent = ", ".join(name for name, mark in zip((PREFIX, SUFFIX, MIDDLE), marks, strict=True) if mark is None)
        raise UnsupportedModelError(
            f"suffix: expected {PREFIX}, {SUFFIX} and {MIDDLE} in the vocabulary, found no {absent}: leave it out, or "
            "take a model that fills in"
        )
    first = plain_tokens(tokenizer, "prompt", checks.text("prompt", prefix), limit)
    last = plain_tokens(tokenizer, "suffix", checks.text("suffix", suffix), limit)
    return [*tokenizer.prefix, before, *first, behind, *last, middle]


def middle_ends(tokenizer: Tokenizer) -> list[int]:
    """Ids that end a middle, beside the model's own."""
    return [token for token in map(tokenizer.token_id, _ENDS) if token is not None]
