"""The shape of a model: read from a checkpoint's config.json, written to and read from a `.q3e` file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from qwen3edge.errors import CheckpointError, FileFormatError, UnsupportedModelError, shown

MODEL_TYPES = ("qwen3", "qwen2", "qwen3_moe")
ARCHITECTURES = {"qwen3": "Qwen3ForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3_moe": "Qwen3MoeForCausalLM"}

COLUMN_UNIT = 32
"""Every matrix has a multiple of this many columns (csrc/base/block_format.h)."""

_LIMITS = {
    "vocab_size": 1 << 24,
    "context_length": 1 << 24,
    "hidden_size": 1 << 20,
    "layers": 1024,
    "heads": 4096,
    "kv_heads": 4096,
    "head_size": 256,
}
_DENSE_LIMITS = {"ffn_size": 1 << 20}
_EXPERT_LIMITS = {"experts": 512, "experts_per_token": 512, "expert_ffn_size": 1 << 20}
_UNITS = dict.fromkeys(("hidden_size", "ffn_size", "head_size", "expert_ffn_size"), COLUMN_UNIT)

_KEYS = {
    "model_type": "qwen3edge.model_type",
    "vocab_size": "qwen3edge.vocab_size",
    "context_length": "qwen3edge.context_length",
    "hidden_size": "qwen3edge.embedding_length",
    "layers": "qwen3edge.block_count",
    "heads": "qwen3edge.attention.head_count",
    "kv_heads": "qwen3edge.attention.head_count_kv",
    "head_size": "qwen3edge.attention.key_length",
    "rms_epsilon": "qwen3edge.attention.layer_norm_rms_epsilon",
    "rope_theta": "qwen3edge.rope.freq_base",
    "qk_norm": "qwen3edge.attention.qk_norm",
    "qkv_bias": "qwen3edge.attention.qkv_bias",
    "tied_embeddings": "qwen3edge.tie_word_embeddings",
}
_DENSE_KEYS = {"ffn_size": "qwen3edge.feed_forward_length"}
_EXPERT_KEYS = {
    "experts": "qwen3edge.expert_count",
    "experts_per_token": "qwen3edge.expert_used_count",
    "expert_ffn_size": "qwen3edge.expert_feed_forward_length",
    "norm_topk_prob": "qwen3edge.norm_topk_prob",
}
_STOP_TOKENS = "qwen3edge.stop_token_ids"
_HALF_SMALLEST_FLOAT32 = 2.0**-150  # what is no larger becomes 0
_LARGEST_FLOAT32 = (2 - 2.0**-23) * 2.0**127


class Metadata(Protocol):
    """The part of `_core.ModelFile` that is read here."""

    def __contains__(self, key: str, /) -> bool: ...
    def get(self, key: str, /) -> object: ...


@dataclass(frozen=True)
class ModelConfig:
    """A Qwen3, dense or with experts in every layer; Qwen2 is the same graph with two switches (qk_norm, qkv_bias)."""

    model_type: str  # of MODEL_TYPES
    vocab_size: int  # rows of the embedding and the head; the tokenizer may know fewer
    context_length: int  # positions that the model was trained for
    hidden_size: int
    layers: int
    ffn_size: int  # 0 for a mixture of experts
    heads: int
    kv_heads: int
    head_size: int  # not hidden_size / heads: the query of Qwen3-0.6B is twice as wide as its hidden state
    rms_epsilon: float
    rope_theta: float
    qk_norm: bool
    qkv_bias: bool
    tied_embeddings: bool  # the head is the embedding
    stop_token_ids: tuple[int, ...] = ()
    experts: int = 0  # of a layer; 0 for a dense model
    experts_per_token: int = 0
    expert_ffn_size: int = 0
    norm_topk_prob: bool = False  # the weights of a token's experts are divided by their sum

    def __post_init__(self) -> None:
        """Raises UnsupportedModelError for a value that the engine cannot run."""
        if self.model_type not in MODEL_TYPES:
            raise _other_model_type(self.model_type)
        absent = _DENSE_LIMITS if self.is_moe else _EXPERT_LIMITS
        for name in absent:
            if getattr(self, name) != 0:
                raise UnsupportedModelError(f"{name}: expected 0 for {self.model_type}, found {getattr(self, name)!r}")
        for name, limit in {**_LIMITS, **(_EXPERT_LIMITS if self.is_moe else _DENSE_LIMITS)}.items():
            value, unit = getattr(self, name), _UNITS.get(name, 1)
            if type(value) is not int or not unit <= value <= limit or value % unit:
                raise UnsupportedModelError(f"{name}: expected a multiple of {unit} up to {limit}, found {value!r}")
        if self.heads % self.kv_heads:
            raise UnsupportedModelError(
                f"expected the key-value heads to divide the heads, found {self.kv_heads} and {self.heads}"
            )
        if self.experts_per_token > self.experts:
            raise UnsupportedModelError(
                f"experts_per_token: expected at most the {self.experts} experts, found {self.experts_per_token}"
            )
        if not _HALF_SMALLEST_FLOAT32 < self.rms_epsilon <= _LARGEST_FLOAT32:
            raise UnsupportedModelError(f"rms_epsilon: expected a float32 above 0, found {self.rms_epsilon!r}")
        if not 1 <= self.rope_theta <= _LARGEST_FLOAT32:
            raise UnsupportedModelError(f"rope_theta: expected a float32 of at least 1, found {self.rope_theta!r}")
        for token in self.stop_token_ids:
            if type(token) is not int or not 0 <= token < self.vocab_size:
                raise UnsupportedModelError(f"stop token: expected an id below {self.vocab_size}, found {token!r}")

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> ModelConfig:
        """From the parsed config.json of a Hugging Face checkpoint; stop tokens are its `eos_token_id`.

        Raises UnsupportedModelError for what the engine cannot run, CheckpointError for a key that is absent or of the
        wrong type. Nothing is inferred but what the architecture's own config leaves out (Qwen2 has no head_dim).
        """
        kind = config.get("model_type")
        if kind not in MODEL_TYPES:
            raise _other_model_type(kind)
        architectures = config.get("architectures") or [ARCHITECTURES[kind]]
        if architectures != [ARCHITECTURES[kind]]:
            headless = architectures == [ARCHITECTURES[kind].replace("ForCausalLM", "Model")]
            raise UnsupportedModelError(
                f"architectures: expected {[ARCHITECTURES[kind]]}, found {architectures!r}"
                + (", a model without a head (an embedding model): it has no logits to compute" if headless else "")
            )
        _refuse_options(config, kind)
        heads, hidden = _integer(config, "num_attention_heads"), _integer(config, "hidden_size")
        if kind == "qwen2" and config.get("head_dim") is None:
            if not heads or hidden % heads:
                raise CheckpointError(f"hidden_size: expected a multiple of {heads} heads, found {hidden}")
            head_size = hidden // heads
        else:
            head_size = _integer(config, "head_dim")
        moe = kind == "qwen3_moe"
        return cls(
            model_type=kind,
            vocab_size=_integer(config, "vocab_size"),
            context_length=_integer(config, "max_position_embeddings"),
            hidden_size=hidden,
            layers=_integer(config, "num_hidden_layers"),
            ffn_size=0 if moe else _integer(config, "intermediate_size"),
            heads=heads,
            kv_heads=_integer(config, "num_key_value_heads"),
            head_size=head_size,
            rms_epsilon=_number(config, "rms_norm_eps"),
            rope_theta=_rope_theta(config),
            qk_norm=kind != "qwen2",
            qkv_bias=kind == "qwen2",
            tied_embeddings=_flag(config, "tie_word_embeddings"),
            stop_token_ids=token_ids(config.get("eos_token_id"), "eos_token_id"),
            experts=_experts(config) if moe else 0,
            experts_per_token=_integer(config, "num_experts_per_tok") if moe else 0,
            expert_ffn_size=_integer(config, "moe_intermediate_size") if moe else 0,
            norm_topk_prob=moe and _flag(config, "norm_topk_prob"),
        )

    @classmethod
    def from_metadata(cls, file: Metadata) -> ModelConfig:
        """From the metadata of a `.q3e` file. Raises FileFormatError, UnsupportedModelError."""
        fields: dict[str, Any] = {"ffn_size": 0}
        kind = _KEYS["model_type"]
        for name, key in _keys(kind in file and file.get(kind) == "qwen3_moe").items():
            if key not in file:
                raise FileFormatError(f"the key {key!r} is missing")
            fields[name] = file.get(key)
        stop = file.get(_STOP_TOKENS) if _STOP_TOKENS in file else []
        if not isinstance(stop, list):
            raise FileFormatError(f"{_STOP_TOKENS}: expected an array, found {stop!r}")
        return cls(**fields, stop_token_ids=tuple(stop))

    def to_metadata(self) -> dict[str, Any]:
        """The keys of docs/format.md: int is uint32, float is float32, a tuple an array of uint32."""
        metadata: dict[str, Any] = {key: getattr(self, name) for name, key in _keys(self.is_moe).items()}
        if self.stop_token_ids:
            metadata[_STOP_TOKENS] = self.stop_token_ids
        return metadata

    @property
    def is_moe(self) -> bool:
        """Whether every layer has experts in place of one feed-forward network."""
        return self.model_type == "qwen3_moe"

    @property
    def query_size(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_size

    @property
    def kv_size(self) -> int:
        """Width of all key heads, or value heads, together."""
        return self.kv_heads * self.head_size

    def inverse_frequencies(self) -> list[float]:
        """RoPE's angle per position, [head_size / 2], to be rounded to float32 once."""
        return [self.rope_theta ** -(i / self.head_size) for i in range(0, self.head_size, 2)]


def _keys(is_moe: bool) -> dict[str, str]:
    return {**_KEYS, **(_EXPERT_KEYS if is_moe else _DENSE_KEYS)}


def token_ids(value: object, what: str) -> tuple[int, ...]:
    """One id, a list of them or null, as Hugging Face configs write them. Raises CheckpointError."""
    if value is None:
        return ()
    values = value if isinstance(value, list) else [value]
    for token in values:
        if type(token) is not int or token < 0:
            raise CheckpointError(f"{what}: expected token ids, found {value!r}")
    return tuple(dict.fromkeys(values))


def _other_model_type(found: object) -> UnsupportedModelError:
    return UnsupportedModelError(f"model_type: expected one of {', '.join(MODEL_TYPES)}, found {shown(found)}")


def _refuse_options(config: Mapping[str, Any], kind: str) -> None:
    activation = config.get("hidden_act", "silu")
    if activation != "silu":
        raise UnsupportedModelError(f"hidden_act: expected 'silu', found {activation!r}")
    _refuse_windows(config, kind)
    if kind != "qwen2" and config.get("attention_bias"):
        raise UnsupportedModelError(f"attention_bias: expected false for {kind}, found true")
    if kind == "qwen3_moe":
        if config.get("decoder_sparse_step", 1) != 1:
            raise UnsupportedModelError(
                f"decoder_sparse_step: expected 1 (experts in every layer), found {config['decoder_sparse_step']!r}"
            )
        if config.get("mlp_only_layers"):
            raise UnsupportedModelError(
                f"mlp_only_layers: expected none (experts in every layer), found {config['mlp_only_layers']!r}"
            )
    rope = _rope(config)
    scaling = rope.get("rope_type", rope.get("type", "default"))
    if scaling != "default" and not (scaling == "linear" and rope.get("factor") == 1):
        raise UnsupportedModelError(
            f"rope_scaling: expected none, 'default', or 'linear' by 1, found {scaling!r}, which is not supported; "
            "without it in config.json the model runs, unscaled, up to the positions that it was first trained for"
        )
    if rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1)) not in (1, None):
        raise UnsupportedModelError("partial_rotary_factor: expected RoPE on whole heads, found a part of them")


def _refuse_windows(config: Mapping[str, Any], kind: str) -> None:
    """Sliding windows, but for those that no layer has: transformers counts them from max_window_layers on."""
    layer_types = config.get("layer_types") or []
    if not isinstance(layer_types, list) or any(layer != "full_attention" for layer in layer_types):
        raise UnsupportedModelError(f"layer_types: expected 'full_attention' only, found {layer_types!r:.80}")
    if not config.get("use_sliding_window") or config.get("sliding_window", 0) is None:
        return
    first = config.get("max_window_layers", 28)
    layers = _integer(config, "num_hidden_layers")
    # transformers' mixtures have the window in every layer.
    if kind == "qwen3_moe" or not (layer_types or (type(first) is int and first >= layers)):
        raise UnsupportedModelError(
            "use_sliding_window: expected false or max_window_layers of at least the layers, found windows "
            f"(max_window_layers {first!r}, {layers} layers); sliding windows are not supported"
        )


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object that transformers 5 reads: rope_scaling, as version 4 wrote it, before rope_parameters."""
    for name in ("rope_scaling", "rope_parameters"):
        rope = config.get(name)
        if rope is not None and not isinstance(rope, Mapping):
            raise CheckpointError(f"{name}: expected an object, found {rope!r}")
    return config.get("rope_scaling") or config.get("rope_parameters") or {}


def _experts(config: Mapping[str, Any]) -> int:
    # transformers 5 writes num_local_experts.
    return _integer(config, "num_experts" if "num_experts" in config else "num_local_experts")


def _rope_theta(config: Mapping[str, Any]) -> float:
    # transformers 5 prefers the one inside.
    rope = _rope(config)
    return _number(rope if rope.get("rope_theta") is not None else config, "rope_theta")


def rope_notes(config: Mapping[str, Any]) -> tuple[str, ...]:
    """A line where a config.json that from_hf reads has several rope_theta, of which transformers takes one."""
    nested = (config.get(name) or {} for name in ("rope_scaling", "rope_parameters"))
    found = [place["rope_theta"] for place in (config, *nested) if place.get("rope_theta") is not None]
    taken = _rope_theta(config)
    others = [theta for theta in dict.fromkeys(found) if theta != taken]
    if not others:
        return ()
    return (f"rope_theta is {taken:g}, as transformers 5 reads config.json, which also says {others[0]!r}",)


def _integer(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if type(value) is not int:
        raise CheckpointError(f"{key}: expected an integer, found {'nothing' if value is None else repr(value)}")
    return value


def _number(config: Mapping[str, Any], key: str) -> float:
    value = config.get(key)
    if type(value) not in (int, float):
        raise CheckpointError(f"{key}: expected a number, found {'nothing' if value is None else repr(value)}")
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        raise CheckpointError(f"{key}: expected a number, found one beyond float64") from None


def _flag(config: Mapping[str, Any], key: str) -> bool:
    value = config.get(key, False)
    if type(value) is not bool:
        raise CheckpointError(f"{key}: expected true or false, found {value!r}")
    return value
