"""How tokens are picked: checked parameters, Qwen3's defaults by mode, the core's sampler made from them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from qwen3edge import _core, checks
from qwen3edge.errors import FileFormatError, RequestError
from qwen3edge.sampling import ADVICE, MAX_SEED, MAX_TOP_K, RANGES
from qwen3edge.text.tokenizer import Metadata


@dataclass(frozen=True)
class SamplingParameters:
    """Temperature 0 is greedy. top_k 0, top_p 1, min_p 0, presence_penalty 0, repetition_penalty 1 switch a step
    off."""

    temperature: float = ADVICE["direct"]["temperature"]
    top_k: int = ADVICE["direct"]["top_k"]
    top_p: float = ADVICE["direct"]["top_p"]
    min_p: float = ADVICE["direct"]["min_p"]
    presence_penalty: float = ADVICE["direct"]["presence_penalty"]
    repetition_penalty: float = ADVICE["direct"]["repetition_penalty"]

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            object.__setattr__(self, name, checks.number(name, getattr(self, name), low, high))
        object.__setattr__(self, "top_k", checks.whole("top_k", self.top_k, 0, MAX_TOP_K))

    def override(self, **changes: Any) -> SamplingParameters:
        """These parameters with some of them changed; None leaves one as it is. Raises RequestError."""
        unknown = sorted(set(changes) - {field.name for field in fields(self)})
        if unknown:
            raise RequestError(f"expected parameters of sampling or generate, found {', '.join(unknown)[:200]}")
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def sampler(self, vocabulary: int, seed: int) -> _core.Sampler:
        """A sampler with its own generator."""
        return _core.Sampler(vocabulary=vocabulary, seed=seed, **asdict(self))

    def __str__(self) -> str:
        """All values in a line, as a file's float32 means them."""
        return ", ".join(f"{name} {value:.6g}" for name, value in asdict(self).items())


def chosen_seed(seed: int | None) -> int:
    """The seed itself, or one from the system for None. Raises RequestError."""
    if seed is None:
        return int.from_bytes(os.urandom(8), "little")  # the module secrets would load OpenSSL
    return checks.whole("seed", seed, 0, MAX_SEED)


@dataclass(frozen=True)
class SamplingDefaults:
    """What Qwen advises for thinking (never greedy) and for answering directly."""

    thinking: SamplingParameters = SamplingParameters(**ADVICE["thinking"])
    direct: SamplingParameters = SamplingParameters()

    @classmethod
    def from_metadata(cls, metadata: Metadata) -> SamplingDefaults:
        """Reads `qwen3edge.sampling.*`; what the file does not say stays as above. Raises FileFormatError."""
        modes: dict[str, SamplingParameters] = {}
        for mode, fallback in (("thinking", cls.thinking), ("direct", cls.direct)):
            found: Mapping[str, Any] = {
                field.name: metadata.get(key)
                for field in fields(SamplingParameters)
                if (key := f"qwen3edge.sampling.{mode}.{field.name}") in metadata
            }
            try:
                modes[mode] = fallback.override(**found)
            except RequestError as error:
                raise FileFormatError(f"qwen3edge.sampling.{mode}: {error}") from None
        if modes["thinking"].temperature == 0:  # greedy thinking loops: only for those who ask for it
            modes["thinking"] = replace(modes["thinking"], temperature=cls.thinking.temperature)
        return cls(**modes)

    def choose(self, thinking: bool) -> SamplingParameters:
        """The defaults of a mode."""
        return self.thinking if thinking else self.direct
