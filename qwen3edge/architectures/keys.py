"""Keys of config.json that architectures share, each of its type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3edge.errors import CheckpointError, UnsupportedModelError


def integer(config: Mapping[str, Any], key: str) -> int:
    """Raises CheckpointError."""
    value = config.get(key)
    if type(value) is not int:
        raise CheckpointError(f"{key}: expected an integer, found {'nothing' if value is None else repr(value)}")
    return value


def number(config: Mapping[str, Any], key: str) -> float:
    """Raises CheckpointError."""
    value = config.get(key)
    if type(value) not in (int, float):
        raise CheckpointError(f"{key}: expected a number, found {'nothing' if value is None else repr(value)}")
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        raise CheckpointError(f"{key}: expected a number, found one beyond float64") from None


def flag(config: Mapping[str, Any], key: str) -> bool:
    """False where it is absent. Raises CheckpointError."""
    value = config.get(key, False)
    if type(value) is not bool:
        raise CheckpointError(f"{key}: expected true or false, found {value!r}")
    return value


def token_ids(value: object, what: str) -> tuple[int, ...]:
    """One id, a list of them or null, as Hugging Face configs write them. Raises CheckpointError."""
    if value is None:
        return ()
    values = value if isinstance(value, list) else [value]
    for token in values:
        if type(token) is not int or token < 0:
            raise CheckpointError(f"{what}: expected token ids, found {value!r}")
    return tuple(dict.fromkeys(values))


def rope_theta(config: Mapping[str, Any]) -> float:
    """As transformers 5 takes it: the one inside of the object before the one beside it. Raises CheckpointError."""
    rope = rope_object(config)
    return number(rope if rope.get("rope_theta") is not None else config, "rope_theta")


def rope_notes(config: Mapping[str, Any]) -> tuple[str, ...]:
    """A line where a config.json has several rope_theta, of which transformers takes one."""
    nested = (config.get(name) or {} for name in ("rope_scaling", "rope_parameters"))
    found = [place["rope_theta"] for place in (config, *nested) if place.get("rope_theta") is not None]
    taken = rope_theta(config)
    others = [theta for theta in dict.fromkeys(found) if theta != taken]
    if not others:
        return ()
    return (f"rope_theta is {taken:g}, as transformers 5 reads config.json, which also says {others[0]!r}",)


def text_keys(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those of the text model in a config.json whose model has other parts as well. Raises CheckpointError."""
    text = config.get("text_config")
    if text is None:
        return config
    if not isinstance(text, Mapping):
        raise CheckpointError(f"text_config: expected an object, found {text!r:.60}")
    shared = ("model_type", "architectures", "tie_word_embeddings", "eos_token_id")
    return {**text, **{key: config[key] for key in shared if config.get(key) is not None}}


def refuse_activations(config: Mapping[str, Any]) -> None:
    """But SiLU. Raises UnsupportedModelError."""
    activation = config.get("hidden_act", "silu")
    if activation != "silu":
        raise UnsupportedModelError(f"hidden_act: expected 'silu', found {activation!r}")


def rotated_part(config: Mapping[str, Any], default: float) -> float:
    """Of a head that RoPE turns, from 0 to 1. Raises CheckpointError."""
    rope = rope_object(config)
    given = rope.get("partial_rotary_factor", config.get("partial_rotary_factor"))
    return default if given is None else number({"partial_rotary_factor": given}, "partial_rotary_factor")


def refuse_partial_rope(config: Mapping[str, Any]) -> None:
    """RoPE that turns a part of a head. Raises UnsupportedModelError."""
    if rotated_part(config, 1) != 1:
        raise UnsupportedModelError("partial_rotary_factor: expected RoPE on whole heads, found a part of them")


def refuse_windows(config: Mapping[str, Any], in_every_layer: bool = False) -> None:
    """Sliding windows, but for those that no layer has: transformers counts them from max_window_layers on.

    in_every_layer: whatever max_window_layers says. Raises UnsupportedModelError, CheckpointError.
    """
    layer_types = config.get("layer_types") or []
    if not isinstance(layer_types, list) or any(layer != "full_attention" for layer in layer_types):
        raise UnsupportedModelError(f"layer_types: expected 'full_attention' only, found {layer_types!r:.80}")
    if not config.get("use_sliding_window") or config.get("sliding_window", 0) is None:
        return
    first = config.get("max_window_layers", 28)
    layers = integer(config, "num_hidden_layers")
    if in_every_layer or not (layer_types or (type(first) is int and first >= layers)):
        raise UnsupportedModelError(
            "use_sliding_window: expected false or max_window_layers of at least the layers, found windows "
            f"(max_window_layers {first!r}, {layers} layers); sliding windows are not supported"
        )


def rope_object(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object that transformers 5 reads: rope_scaling, as version 4 wrote it, before rope_parameters."""
    for name in ("rope_scaling", "rope_parameters"):
        rope = config.get(name)
        if rope is not None and not isinstance(rope, Mapping):
            raise CheckpointError(f"{name}: expected an object, found {rope!r}")
    return config.get("rope_scaling") or config.get("rope_parameters") or {}
