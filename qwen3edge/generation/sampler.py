"""How tokens are picked: checked parameters, Qwen3's defaults by mode, the core's sampler made from them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any

from qwen3edge import _core, checks
from qwen3edge.errors import FileFormatError, RequestError, shown
from qwen3edge.sampling import ADVICE, MAX_BIASES, MAX_CHOICE, MAX_SEED, MAX_TOKENS, MAX_TOP_K, RANGES
from qwen3edge.text.tokenizer import Metadata

_NUMBERS = tuple(ADVICE["direct"])  # the parameters that a file can hold
Biases = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class SamplingParameters:
    """Temperature 0 is greedy. top_k 0 (or -1, which becomes 0), top_p 1, min_p 0, presence_penalty 0,
    frequency_penalty 0, repetition_penalty 1 and an empty logit_bias switch a step off.

    logit_bias: what is added to logits, by token ids; it becomes pairs, sorted.
    """

    temperature: float = ADVICE["direct"]["temperature"]
    top_k: int = ADVICE["direct"]["top_k"]
    top_p: float = ADVICE["direct"]["top_p"]
    min_p: float = ADVICE["direct"]["min_p"]
    presence_penalty: float = ADVICE["direct"]["presence_penalty"]
    frequency_penalty: float = ADVICE["direct"]["frequency_penalty"]
    repetition_penalty: float = ADVICE["direct"]["repetition_penalty"]
    logit_bias: Mapping[int, float] | Biases = ()

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            if name in RANGES:
                object.__setattr__(self, name, checks.number(name, getattr(self, name), *RANGES[name]))
        object.__setattr__(self, "top_k", max(checks.whole("top_k", self.top_k, -1, MAX_TOP_K), 0))
        object.__setattr__(self, "logit_bias", _biases(self.logit_bias))

    @property
    def numbers(self) -> dict[str, float]:
        """All but logit_bias, by their names."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in _NUMBERS}

    def override(self, **changes: Any) -> SamplingParameters:
        """These parameters with some of them changed; None leaves one as it is. Raises RequestError."""
        unknown = sorted(set(changes) - {field.name for field in fields(self)})
        if unknown:
            raise RequestError(f"expected parameters of sampling or generate, found {', '.join(unknown)[:200]}")
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def sampler(
        self,
        vocabulary: int,
        seed: int,
        *,
        usable: int | None = None,
        choice: int = 0,
        min_tokens: int = 0,
        stop_tokens: Collection[int] = (),
        never: Collection[int] = (),
    ) -> _core.Sampler:
        """The core's, for one answer. usable: ids from there on are rows that no token has. choice: which of the
        answers to one request. min_tokens: of the answer, before which none of stop_tokens is picked. never: tokens
        that are not picked at all. Raises RequestError, also for a bias of a token beyond the vocabulary.
        """
        return _core.Sampler(
            vocabulary=vocabulary,
            usable=usable,
            logit_bias=dict(self.logit_bias),
            seed=seed,
            choice=checks.whole("choice", choice, 0, MAX_CHOICE),
            min_tokens=checks.whole("min_tokens", min_tokens, 0, MAX_TOKENS),
            stop_tokens=list(stop_tokens),
            never=list(never),
            **self.numbers,  # type: ignore[arg-type]
        )

    def __str__(self) -> str:
        """All numbers in a line, as a file's float32 means them."""
        return ", ".join(f"{name} {value:.6g}" for name, value in self.numbers.items())


def _biases(value: object) -> Biases:
    try:
        given = value.items() if isinstance(value, Mapping) else value if isinstance(value, tuple) else None
        found = None if given is None else dict(islice(given, MAX_BIASES + 1))
    except Exception:
        found = None
    if found is None:
        raise RequestError(f"expected logit_bias as a mapping of token ids to numbers, found {shown(value)}")
    if len(found) > MAX_BIASES:
        raise RequestError(f"expected logit_bias as at most {MAX_BIASES} tokens, found more")
    biases = {
        checks.whole("the tokens of logit_bias", token, 0, 2**31 - 1): checks.number(
            f"logit_bias of token {shown(token)}", bias, *RANGES["logit_bias"]
        )
        for token, bias in found.items()
    }
    return tuple(sorted(biases.items()))


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
                name: metadata.get(key) for name in _NUMBERS if (key := f"qwen3edge.sampling.{mode}.{name}") in metadata
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
