"""RoPE for more positions than a model was first trained for: linear interpolation, and YaRN (Peng et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qwen3edge.architectures.keys import flag, integer, number, rope_object
from qwen3edge.errors import UnsupportedModelError, shown

_KINDS = ("linear", "yarn")
_LARGEST = 2.0**24  # far above what is in use, and safe in float32
_KEYS = {
    "kind": "rope.scaling.type",
    "factor": "rope.scaling.factor",
    "original_context": "rope.scaling.original_context_length",
    "attention_factor": "rope.scaling.attention_factor",
    "beta_fast": "rope.scaling.yarn_beta_fast",
    "beta_slow": "rope.scaling.yarn_beta_slow",
    "truncate": "rope.scaling.yarn_truncate",
}
"""Of a `.q3e` file, behind `qwen3edge.`; those of YaRN alone after the first two."""


@dataclass(frozen=True)
class RopeScaling:
    """factor: by which positions grow. All that follows it is YaRN's.

    original_context: positions of the first training. attention_factor: by which sines and cosines are multiplied.
    beta_fast, beta_slow: turns within original_context from which on a frequency stays, and up to which it is divided
    by the factor. truncate: these bounds are whole channels.
    """

    kind: str  # linear, yarn
    factor: float
    original_context: int = 0
    attention_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True

    def __post_init__(self) -> None:
        """Raises UnsupportedModelError for a value that cannot be computed with."""
        if self.kind not in _KINDS:
            raise UnsupportedModelError(
                f"rope_scaling: expected none or one of {', '.join(_KINDS)}, found {shown(self.kind)}, which is not "
                "supported; without it the model runs, unscaled, up to the positions that it was first trained for"
            )
        least = {"factor": 1.0, **dict.fromkeys(("attention_factor", "beta_fast", "beta_slow"), 1 / _LARGEST)}
        for name, low in least.items():
            value = getattr(self, name)
            if not (isinstance(value, float) and low <= value <= _LARGEST):
                raise UnsupportedModelError(
                    f"rope_scaling: expected {name} from {low:g} to {_LARGEST:g}, found {shown(value)}"
                )
        if self.kind == "yarn" and not (type(self.original_context) is int and 1 <= self.original_context <= _LARGEST):
            raise UnsupportedModelError(
                f"rope_scaling: expected original positions from 1 to {_LARGEST:g}, "
                f"found {shown(self.original_context)}"
            )
        if self.beta_fast < self.beta_slow or not isinstance(self.truncate, bool):
            raise UnsupportedModelError(
                "rope_scaling: expected beta_fast of at least beta_slow, and truncate true or false, found "
                f"{self.beta_fast:g}, {self.beta_slow:g} and {shown(self.truncate)}"
            )

    @classmethod
    def yarn(cls, factor: float, original_context: int, **others: Any) -> RopeScaling:
        """With the attention factor of the paper, unless it is given."""
        return cls("yarn", factor, original_context, **{"attention_factor": paper_attention_factor(factor), **others})

    @property
    def context_length(self) -> int:
        """Positions of YaRN; 0 where it cannot be told."""
        return int(self.factor * self.original_context)

    def scale(self, frequencies: list[float], theta: float) -> list[float]:
        """RoPE's angles per position, [head_size / 2], from those of the first training."""
        if self.kind == "linear":
            return [frequency / self.factor for frequency in frequencies]
        low, high = self._bounds(2 * len(frequencies), theta)
        ramp = [min(max((i - low) / (high - low), 0.0), 1.0) for i in range(len(frequencies))]
        return [f * (1 - part) + f / self.factor * part for f, part in zip(frequencies, ramp, strict=True)]

    def _bounds(self, size: int, theta: float) -> tuple[float, float]:
        """The channels between which frequencies go over from their own to the divided ones, as transformers has it."""
        if theta <= 1:
            raise UnsupportedModelError(f"rope_theta: expected more than 1 with YaRN, found {theta!r}")
        low, high = (
            size * math.log(self.original_context / (turns * 2 * math.pi)) / (2 * math.log(theta))
            for turns in (self.beta_fast, self.beta_slow)
        )
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, size - 1)
        return low, high + 0.001 if high == low else high

    def to_hf(self) -> dict[str, Any]:
        """`rope_scaling` of config.json."""
        found: dict[str, Any] = {"rope_type": self.kind, "factor": self.factor}
        if self.kind == "yarn":
            found |= {"original_max_position_embeddings": self.original_context}
            found |= {name: getattr(self, name) for name in ("attention_factor", "beta_fast", "beta_slow", "truncate")}
        return found

    def to_metadata(self) -> dict[str, Any]:
        """Keys of a `.q3e` file, behind `qwen3edge.`."""
        names = list(_KEYS)[: None if self.kind == "yarn" else 2]
        return {_KEYS[name]: getattr(self, name) for name in names}

    @classmethod
    def from_metadata(cls, value: Callable[[str], Any]) -> RopeScaling:
        """value: of a key, which raises where it is missing. Raises UnsupportedModelError."""
        kind = value(_KEYS["kind"])
        return cls(**{name: value(key) for name, key in list(_KEYS.items())[: None if kind == "yarn" else 2]})


SCALING_TYPE = _KEYS["kind"]
"""The key that only a file with scaled RoPE has."""


def paper_attention_factor(factor: float) -> float:
    """What sharpens attention over so many times the positions (equation 22)."""
    return 0.1 * math.log(factor) + 1 if factor > 1 else 1.0


def read_rope_scaling(config: Mapping[str, Any]) -> RopeScaling | None:
    """As transformers 5 reads config.json; none where it changes nothing.

    Raises UnsupportedModelError, CheckpointError.
    """
    rope = rope_object(config)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind in ("default", None):
        return None
    if kind == "linear":
        factor = number(rope, "factor")
        return None if factor == 1 else RopeScaling(kind, factor)
    if kind != "yarn":
        return RopeScaling(kind, 1.0)  # refused by its name
    given = {key: value for key, value in rope.items() if value is not None}
    if config.get("original_max_position_embeddings") is not None:  # the one outside comes first there
        original = integer(config, "original_max_position_embeddings")
    elif "original_max_position_embeddings" in given:
        original = integer(given, "original_max_position_embeddings")
    else:
        original = integer(config, "max_position_embeddings")
    if "factor" in given or "factor" not in rope or original < 1:
        factor = number(rope, "factor")
    else:
        factor = integer(config, "max_position_embeddings") / original
    others: dict[str, Any] = {key: number(given, key) for key in ("beta_fast", "beta_slow") if given.get(key)}
    if "attention_factor" in given:
        others["attention_factor"] = number(given, "attention_factor")
    elif given.get("mscale") and given.get("mscale_all_dim"):
        above, below = (1 + number(given, key) * (paper_attention_factor(factor) - 1) for key in _MSCALES)
        if not below:
            raise UnsupportedModelError("rope_scaling: expected mscale_all_dim that divides, found a product of 0")
        others["attention_factor"] = above / below
    if "truncate" in given:
        others["truncate"] = flag(given, "truncate")
    return RopeScaling.yarn(factor, original, **others)


_MSCALES = ("mscale", "mscale_all_dim")
