"""What chats, completions and responses have in common: how an answer is sampled, and when it ends."""

from __future__ import annotations

from typing import Any

from qwen3edge.errors import shown
from qwen3edge.generation.options import Options
from qwen3edge.sampling import MAX_SEED
from qwen3edge.server.errors import BodyError
from qwen3edge.server.parameters import Body, Ignored, Listed


class SampledBody(Body):
    """A base of bodies."""

    min_tokens: int | None = None
    stop: str | Listed[str] | None = None
    stop_token_ids: Listed[int] | None = None
    ignore_eos: bool | None = None
    seed: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, Any] | None = None
    user: Ignored = None

    def sampling(self) -> Options:
        """Of `generate`. Raises BodyError."""
        return {
            **{name: getattr(self, name) for name in _SAME},  # type: ignore[typeddict-item]
            "seed": None if self.seed is None else self.seed & MAX_SEED,  # OpenAI's may be negative
            "logit_bias": None if self.logit_bias is None else _biases(self.logit_bias),
        }


_SAME = [name for name in SampledBody.model_fields if name not in ("seed", "logit_bias", "user")]
"""Parameters that are options of `generate` under their names."""


def _biases(given: dict[str, Any]) -> dict[int, float]:
    """By tokens' ids, which are strings in JSON. Raises BodyError."""
    for token, bias in given.items():
        if isinstance(bias, bool) or not isinstance(bias, int | float):
            raise BodyError(f"logit_bias: expected numbers, found {shown(bias)}", "logit_bias")
        if not (token.isdecimal() and token.isascii() and len(token) < 10):
            raise BodyError(f"logit_bias: expected ids of tokens as names, found {shown(token)}", "logit_bias")
    return {int(token): bias for token, bias in given.items()}
