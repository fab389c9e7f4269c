"""Scaled RoPE as it is asked for, and as GGUF's keys tell it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from qwen3edge.architectures.rope_scaling import RopeScaling, paper_attention_factor
from qwen3edge.config import ModelConfig
from qwen3edge.errors import CheckpointError, RequestError, UnsupportedModelError, shown

_FACTOR, _ORIGINAL = 4.0, 32768
"""What Qwen3's model cards say."""
_GGUF = "rope.scaling."
_GGUF_BETAS = {"beta_fast": f"{_GGUF}yarn_beta_fast", "beta_slow": f"{_GGUF}yarn_beta_slow"}


def with_scaling(config: ModelConfig, asked: str) -> ModelConfig:
    """asked: `yarn`, `yarn:FACTOR` or `yarn:FACTOR:POSITIONS` of the first training, by default 4 times 32,768, or the
    context where that is shorter. Raises RequestError, also for a checkpoint with a scaling of its own.
    """
    kind, *numbers = asked.split(":") if isinstance(asked, str) else [""]
    try:
        if kind != "yarn" or len(numbers) > 2:
            raise ValueError
        factor = float(numbers[0]) if numbers else _FACTOR
        original = int(numbers[1]) if len(numbers) > 1 else min(_ORIGINAL, config.context_length)
    except ValueError:
        raise RequestError(
            f"rope_scaling: expected yarn, yarn:FACTOR or yarn:FACTOR:POSITIONS, found {shown(asked)}"
        ) from None
    if config.rope_scaling is not None:
        found = f"{config.rope_scaling.kind} by {config.rope_scaling.factor:g}"
        raise RequestError(f"rope_scaling: expected a checkpoint without scaled RoPE, found one with {found}")
    most = config.context_length
    if not (factor > 1 and 1 <= original <= most):
        raise RequestError(
            f"rope_scaling: expected a factor above 1 and up to the {most} positions that the model has, found "
            f"{factor:g} and {original}"
        )
    try:
        scaling = RopeScaling.yarn(factor, original)
        if scaling.context_length <= config.context_length:
            raise RequestError(
                f"rope_scaling: expected more than the {config.context_length} positions that the model has, found "
                f"{factor:g} times {original}; yarn:4:{config.context_length} gives four times as many"
            )
        return replace(config, rope_scaling=scaling, context_length=scaling.context_length)
    except UnsupportedModelError as error:
        raise RequestError(str(error)) from None


def gguf_scaling(
    where: str, keys: Mapping[str, Any], real: Callable[[str, float], float], original: Callable[[], int]
) -> RopeScaling | None:
    """As llama.cpp reads a file; none where it changes nothing.

    where: the file and the architecture, for messages. keys: without the architecture's name. real: of a key, or a
    default. original: positions of the first training. Raises CheckpointError, UnsupportedModelError.
    """
    kind = keys.get(f"{_GGUF}type", "linear")
    if not isinstance(kind, str):
        raise CheckpointError(f"{where}.{_GGUF}type: expected text, found {shown(kind)}")
    factor = real(f"{_GGUF}factor", real("rope.scale_linear", 1.0)) or 1.0
    if kind == "none" or (kind in ("linear", "yarn") and factor == 1):
        return None
    try:
        if kind != "yarn":
            return RopeScaling(kind, factor)
        if real(f"{_GGUF}yarn_ext_factor", 1.0) not in (-1.0, 1.0):
            raise UnsupportedModelError("yarn_ext_factor: expected 1; others are not supported")
        own = real(f"{_GGUF}attn_factor", 1.0) * real(f"{_GGUF}yarn_attn_factor", 1.0)
        betas = {name: real(key, 0.0) for name, key in _GGUF_BETAS.items()}
        return RopeScaling.yarn(
            factor,
            original(),
            attention_factor=own * paper_attention_factor(factor),
            **{name: beta for name, beta in betas.items() if beta > 0},
        )
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{where}.{_GGUF}type: {error}") from None


def gguf_scaling_keys(scaling: RopeScaling | None) -> dict[str, Any]:
    """The keys, without the architecture's name. Raises UnsupportedModelError for what GGUF cannot tell."""
    if scaling is None:
        return {}
    keys: dict[str, Any] = {f"{_GGUF}type": scaling.kind, f"{_GGUF}factor": scaling.factor}
    if scaling.kind == "linear":
        return keys
    if not scaling.truncate:
        raise UnsupportedModelError("rope_scaling: expected bounds at whole channels, as GGUF has them, found others")
    return {
        **keys,
        f"{_GGUF}original_context_length": scaling.original_context,
        f"{_GGUF}yarn_attn_factor": scaling.attention_factor / paper_attention_factor(scaling.factor),
        **{key: getattr(scaling, name) for name, key in _GGUF_BETAS.items()},
    }
