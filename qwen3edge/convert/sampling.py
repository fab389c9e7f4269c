"""The sampling defaults of a checkpoint as the metadata of a `.q3e` file (docs/format.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3edge.architectures import find_architecture
from qwen3edge.errors import CheckpointError
from qwen3edge.formats.gguf_header import MetadataItem
from qwen3edge.sampling import ADVICE, MAX_TOP_K, RANGES
from qwen3edge.templates.thoughts import closes_thoughts


def starting_mode(template: str | None, model_type: str) -> str:
    """The mode that a model starts in: thinking, if its template knows how to and does so unasked."""
    if template is None:
        thinks = find_architecture(model_type).thinks
    else:
        thinks = "<think>" in template and not closes_thoughts(template)
    return "thinking" if thinks else "direct"


def sampling_metadata(
    template: str | None, model_type: str, hidden_size: int, chosen: Mapping[str, Any], where: str
) -> dict[str, MetadataItem]:
    """The keys `qwen3edge.sampling.*`. chosen: what the checkpoint has, named as in generation_config.json.

    A top_k of -1 is off, as in vLLM, and stored as 0; do_sample false is a temperature of 0, in both modes. Raises
    CheckpointError for what no sampler can take.
    """
    modes = {mode: dict(values) for mode, values in ADVICE.items()}
    mode = starting_mode(template, model_type)  # the file's only set belongs to it
    if mode == "direct":  # a distilled one that thinks was trained without
        modes["direct"].update(find_architecture(model_type).direct_sampling(hidden_size))
    for name, default in modes[mode].items():
        if chosen.get(name) is not None:
            check = _count if isinstance(default, int) else _number
            modes[mode][name] = check(chosen[name], name, f"{where}: {name}")
    if chosen.get("do_sample") is False:
        for values in modes.values():
            values["temperature"] = 0.0
    return {
        f"qwen3edge.sampling.{mode}.{name}": value for mode, values in modes.items() for name, value in values.items()
    }


def _number(value: object, name: str, where: str) -> float:
    low, high = RANGES[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CheckpointError(f"{where}: expected a number, found {value!r:.60}")
    if not low <= value <= high:  # nor NaN
        raise CheckpointError(f"{where}: expected a number from {low:g} to {high:g}, found {_short(value)}")
    return float(value)


def _count(value: object, _name: str, where: str) -> int:
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(whole, bool) or not isinstance(whole, int):
        raise CheckpointError(f"{where}: expected a whole number, found {value!r:.60}")
    if not -1 <= whole <= MAX_TOP_K:
        raise CheckpointError(f"{where}: expected 0 (off) to {MAX_TOP_K}, found {_short(whole)}")
    return max(whole, 0)


def _short(value: float) -> str:
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"
    return str(value)
