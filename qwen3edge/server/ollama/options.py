"""What Ollama's clients put beside a prompt: `options`, `format`, `think` and `keep_alive`."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from qwen3edge.errors import shown
from qwen3edge.generation.options import Options
from qwen3edge.sampling import MAX_SEED
from qwen3edge.server.errors import BodyError
from qwen3edge.server.parameters import Body, Ignored, Listed
from qwen3edge.server.request import EFFORTS, ThinkingWish

Whole = Annotated[int, BeforeValidator(lambda value: int(value) if _is_whole(value) else value)]
"""An integer, also written as 8192.0: so Home Assistant's forms send them."""

_DURATION = re.compile(r"(?P<sign>-?)(?P<parts>(?:\d{1,12}(?:\.\d{1,12})?(?:ns|us|µs|ms|s|m|h))+)", re.ASCII)
_PART = re.compile(r"(?P<number>[\d.]+)(?P<unit>[a-zµ]+)")
_FOREVER = 1e9  # seconds
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def _is_whole(value: object) -> bool:
    return isinstance(value, float) and value.is_integer()


class OllamaOptions(Body):
    """How an answer is made. num_ctx: tokens of prompt and answer, at most. What is ignored concerns the machine, or
    what is kept when a prompt is cut, which none is.
    """

    num_predict: Whole | None = None
    num_ctx: Annotated[Whole, Field(ge=1)] | None = None
    stop: str | Listed[str] | None = None
    seed: Whole | None = None
    temperature: float | None = None
    top_k: Whole | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: Whole | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    num_keep: Ignored = None
    num_batch: Ignored = None
    num_gpu: Ignored = None
    main_gpu: Ignored = None
    num_thread: Ignored = None
    numa: Ignored = None
    low_vram: Ignored = None
    f16_kv: Ignored = None
    use_mmap: Ignored = None
    use_mlock: Ignored = None

    def sampling(self) -> Options:
        """Of `generate`. Raises BodyError."""
        if self.num_predict == 0:
            raise BodyError("options.num_predict: expected at least 1, or -1 for no limit, found 0", "num_predict")
        return {
            "max_tokens": None if (self.num_predict or -1) < 0 else self.num_predict,
            "stop": self.stop,
            "seed": None if (self.seed or 0) < 0 else _masked(self.seed),  # a negative one asks for any
            "temperature": self.temperature,
            "top_k": None if self.top_k is None else max(self.top_k, 0),
            "top_p": self.top_p,
            "min_p": self.min_p,
            "repetition_penalty": self._repetition(),
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
        }

    def _repetition(self) -> float | None:
        """Ours looks at all tokens."""
        if self.repeat_penalty in (None, 1.0) or self.repeat_last_n in (None, -1):
            return self.repeat_penalty
        if self.repeat_last_n == 0:
            return 1.0
        raise BodyError(
            f"options.repeat_last_n: expected -1, for all tokens, or 0, for none, beside repeat_penalty, found "
            f"{self.repeat_last_n}",
            "repeat_last_n",
        )


class PreparedBody(Body):
    """What requests for answers have in common. Truncating and shifting a prompt would lose a part of it, which is
    never done."""

    model: str | None = None
    format: str | dict[str, Any] | None = None
    options: OllamaOptions | None = None
    think: bool | str | None = None
    keep_alive: float | str | None = None
    stream: bool = True
    logprobs: bool = False
    top_logprobs: int | None = None
    truncate: Ignored = None
    shift: Ignored = None

    @property
    def limit(self) -> int | None:
        """Tokens of prompt and answer."""
        return None if self.options is None else self.options.num_ctx

    @property
    def keeps(self) -> float | None:
        """Seconds that the model stays in memory unused; None: as the server has it. Raises BodyError."""
        return seconds_of(self.keep_alive)

    def generation(self) -> Options:
        """Of `generate`. Raises BodyError."""
        options = (self.options or OllamaOptions()).sampling()
        options |= {"logprobs": self.logprobs, "top_logprobs": self.top_logprobs or 0}
        if self.format == "json":
            return {**options, "json_schema": {"type": "object"}}
        if isinstance(self.format, dict):
            return {**options, "json_schema": self.format}
        if self.format:
            raise BodyError(f'format: expected "json" or a schema, found {shown(self.format)}', "format")
        return options

    def wish(self) -> ThinkingWish | None:
        """What `think` asks for. Left out it is the model's own way; one that does not think answers in any case, as
        clients guess by names which do. Raises BodyError.
        """
        if self.think is None or isinstance(self.think, bool):
            return None if self.think is None else ThinkingWish(self.think)
        effort = "high" if self.think == "max" else self.think
        if effort not in ("low", "medium", "high"):
            raise BodyError(f"think: expected true, false, low, medium, high or max, found {shown(effort)}", "think")
        return EFFORTS[effort]


def seconds_of(keep_alive: float | str | None) -> float | None:
    """Of a number, or a duration such as "5m" or "1h30m"; what is negative is infinite. Raises BodyError."""
    if keep_alive is None:
        return None
    if isinstance(keep_alive, str):
        match = _DURATION.fullmatch(keep_alive) or _DURATION.fullmatch(f"{keep_alive}s")
        if match is None:
            raise BodyError(
                f'keep_alive: expected seconds, or a duration such as "5m", found {shown(keep_alive)}', "keep_alive"
            )
        parts = _PART.finditer(match["parts"])
        seconds = sum(float(part["number"]) * _SECONDS[part["unit"]] for part in parts)
        keep_alive = -seconds if match["sign"] else seconds
    return float(keep_alive) if 0 <= keep_alive < _FOREVER else math.inf


def _masked(seed: int | None) -> int | None:
    return None if seed is None else seed & MAX_SEED
