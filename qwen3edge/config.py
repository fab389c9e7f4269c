"""The shape of a model: read from a checkpoint's config.json, written to and read from a `.q3e` file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Protocol, get_type_hints

from qwen3edge.architectures import find_architecture, find_hf_architecture
from qwen3edge.architectures.architecture import Architecture
from qwen3edge.architectures.keys import (
    flag,
    integer,
    number,
    refuse_activations,
    rope_theta,
    text_keys,
    token_ids,
)
from qwen3edge.architectures.rope_scaling import SCALING_TYPE, RopeScaling, read_rope_scaling
from qwen3edge.errors import FileFormatError, UnsupportedModelError

COLUMN_UNIT = 32
"""Every matrix has a multiple of this many columns (csrc/base/block_format.h)."""

_PREFIX = "qwen3edge."
_STOP_TOKENS = "qwen3edge.stop_token_ids"
_HEADLESS = "qwen3edge.headless"
_HALF_SMALLEST_FLOAT32 = 2.0**-150  # what is no larger becomes 0
_LARGEST_FLOAT32 = (2 - 2.0**-23) * 2.0**127


class Metadata(Protocol):
    """The part of `_core.ModelFile` that is read here."""

    def __contains__(self, key: str, /) -> bool: ...
    def get(self, key: str, /) -> object: ...


class Key(NamedTuple):
    """What a number of a config is called elsewhere, and its limits."""

    key: str  # in a `.q3e` file behind `qwen3edge.`, in GGUF behind the architecture's name
    hf: str = ""  # in config.json; empty where the architecture says it
    blocks: tuple[str, ...] = ()  # the kinds of blocks that have it; empty for what every model has
    limit: int = 0  # of an int
    unit: int = 1  # of which an int is a multiple


_ATTENTION = ("attention", "gated_attention")
_EXPERTS = ("experts", "shared_experts")
_DELTA_NET = ("delta_net",)


@dataclass(frozen=True)
class ModelConfig:
    """Each number once, in the order of a `.q3e` file: what it is called elsewhere, whose it is, its limits.

    What an architecture's blocks have not is 0.
    """

    model_type: str  # of an `Architecture`
    # Rows of the embedding and the head; the tokenizer may know fewer.
    vocab_size: Annotated[int, Key("vocab_size", "vocab_size", (), 1 << 24)]
    # Positions that the model was trained for.
    context_length: Annotated[int, Key("context_length", "max_position_embeddings", (), 1 << 24)]
    hidden_size: Annotated[int, Key("embedding_length", "hidden_size", (), 1 << 20, COLUMN_UNIT)]
    layers: Annotated[int, Key("block_count", "num_hidden_layers", (), 1024)]
    heads: Annotated[int, Key("attention.head_count", "num_attention_heads", _ATTENTION, 4096)]
    kv_heads: Annotated[int, Key("attention.head_count_kv", "num_key_value_heads", _ATTENTION, 4096)]
    # Not hidden_size / heads: the query of Qwen3-0.6B is twice as wide as its hidden state.
    head_size: Annotated[int, Key("attention.key_length", "head_dim", _ATTENTION, 256, COLUMN_UNIT)]
    rms_epsilon: Annotated[float, Key("attention.layer_norm_rms_epsilon", "rms_norm_eps")]
    rope_theta: Annotated[float, Key("rope.freq_base", "rope_theta", _ATTENTION)]
    qk_norm: Annotated[bool, Key("attention.qk_norm", "", _ATTENTION)]
    qkv_bias: Annotated[bool, Key("attention.qkv_bias", "", _ATTENTION)]
    tied_embeddings: Annotated[bool, Key("tie_word_embeddings", "tie_word_embeddings")]  # the head is the embedding
    ffn_size: Annotated[int, Key("feed_forward_length", "intermediate_size", ("dense",), 1 << 20, COLUMN_UNIT)] = 0
    experts: Annotated[int, Key("expert_count", "num_experts", _EXPERTS, 512)] = 0  # of a layer
    experts_per_token: Annotated[int, Key("expert_used_count", "num_experts_per_tok", _EXPERTS, 512)] = 0
    expert_ffn_size: Annotated[
        int, Key("expert_feed_forward_length", "moe_intermediate_size", _EXPERTS, 1 << 20, COLUMN_UNIT)
    ] = 0
    # The weights of a token's experts are divided by their sum.
    norm_topk_prob: Annotated[bool, Key("norm_topk_prob", "norm_topk_prob", _EXPERTS)] = False
    # Of the expert that every token takes.
    shared_ffn_size: Annotated[
        int,
        Key(
            "expert_shared_feed_forward_length",
            "shared_expert_intermediate_size",
            ("shared_experts",),
            1 << 20,
            COLUMN_UNIT,
        ),
    ] = 0
    # Values of a head that RoPE turns, from the first on; 0: all.
    rotary_size: Annotated[int, Key("rope.dimension_count", "rotary_dim", ("gated_attention",), 256, 2)] = 0
    # Every so many layers the last has attention, the others a delta net.
    attention_interval: Annotated[int, Key("full_attention_interval", "full_attention_interval", _DELTA_NET, 1024)] = 0
    conv_taps: Annotated[int, Key("ssm.conv_kernel", "linear_conv_kernel_dim", _DELTA_NET, 4, 4)] = 0
    delta_head_size: Annotated[int, Key("ssm.state_size", "linear_key_head_dim", _DELTA_NET, 256, COLUMN_UNIT)] = 0
    delta_key_heads: Annotated[int, Key("ssm.group_count", "linear_num_key_heads", _DELTA_NET, 512)] = 0
    delta_value_heads: Annotated[int, Key("ssm.time_step_rank", "linear_num_value_heads", _DELTA_NET, 512)] = 0
    stop_token_ids: tuple[int, ...] = ()
    rope_scaling: RopeScaling | None = None
    headless: bool = False  # tied in the file, but there are no logits: an embedding model

    def __post_init__(self) -> None:
        """Raises UnsupportedModelError for a value that the engine cannot run."""
        own = keys_of(self.architecture)
        for name, (kind, key) in _KEYS.items():
            value = getattr(self, name)
            if name not in own:
                if value != 0:
                    raise UnsupportedModelError(f"{name}: expected 0 for {self.model_type}, found {value!r}")
            elif kind is int and not (type(value) is int and key.unit <= value <= key.limit and value % key.unit == 0):
                expected = f"a multiple of {key.unit} up to {key.limit}"
                raise UnsupportedModelError(f"{name}: expected {expected}, found {value!r}")
        if self.heads % self.kv_heads:
            raise UnsupportedModelError(
                f"expected the key-value heads to divide the heads, found {self.kv_heads} and {self.heads}"
            )
        if self.experts_per_token > self.experts:
            raise UnsupportedModelError(
                f"experts_per_token: expected at most the {self.experts} experts, found {self.experts_per_token}"
            )
        if self.rotary_size > self.head_size:
            raise UnsupportedModelError(
                f"rotary_size: expected at most the head size, {self.head_size}, found {self.rotary_size}"
            )
        if self.delta_key_heads and self.delta_value_heads % self.delta_key_heads:
            raise UnsupportedModelError(
                "expected the key heads of the delta net to divide its value heads, "
                f"found {self.delta_key_heads} and {self.delta_value_heads}"
            )
        if not _HALF_SMALLEST_FLOAT32 < self.rms_epsilon <= _LARGEST_FLOAT32:
            raise UnsupportedModelError(f"rms_epsilon: expected a float32 above 0, found {self.rms_epsilon!r}")
        if not 1 <= self.rope_theta <= _LARGEST_FLOAT32:
            raise UnsupportedModelError(f"rope_theta: expected a float32 of at least 1, found {self.rope_theta!r}")
        self.inverse_frequencies()  # whether RoPE can be scaled so
        for token in self.stop_token_ids:
            if type(token) is not int or not 0 <= token < self.vocab_size:
                raise UnsupportedModelError(f"stop token: expected an id below {self.vocab_size}, found {token!r}")

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> ModelConfig:
        """From the parsed config.json of a Hugging Face checkpoint; stop tokens are its `eos_token_id`. With YaRN the
        context is what it makes of the original one, or max_position_embeddings where that is longer.

        Raises UnsupportedModelError for what the engine cannot run, CheckpointError for a key that is absent or of the
        wrong type. Nothing is inferred but what the architecture's own config leaves out.
        """
        model_type = config.get("model_type")
        architecture = find_hf_architecture(model_type)
        config = text_keys(config)
        hf_class = architecture.other_types.get(str(model_type), architecture.hf_class)
        expected = [hf_class]
        classes = config.get("architectures") or expected
        if classes not in (expected, [hf_class.replace("ForCausalLM", "Model")]):
            raise UnsupportedModelError(f"architectures: expected {expected}, found {classes!r}")
        refuse_activations(config)
        config = {**architecture.read(config), "rope_theta": rope_theta(config)}
        read: dict[type, Callable[[Mapping[str, Any], str], Any]] = {int: integer, float: number, bool: flag}
        found = {name: read[kind](config, key.hf) for name, (kind, key) in keys_of(architecture).items() if key.hf}
        stop = token_ids(config.get("eos_token_id"), "eos_token_id")
        scaling = read_rope_scaling(config)
        found["context_length"] = max(found["context_length"], scaling.context_length if scaling else 0)
        return cls(
            architecture.model_type,
            **{**architecture.constants, **found},
            stop_token_ids=stop,
            rope_scaling=scaling,
        )

    @classmethod
    def from_metadata(cls, file: Metadata) -> ModelConfig:
        """From the metadata of a `.q3e` file. Raises FileFormatError, UnsupportedModelError."""

        def value(key: str) -> Any:
            if _PREFIX + key not in file:
                raise FileFormatError(f"the key {_PREFIX + key!r} is missing")
            return file.get(_PREFIX + key)

        architecture = find_architecture(value("model_type"))
        found = {name: value(key.key) for name, (_, key) in keys_of(architecture).items()}
        stop = file.get(_STOP_TOKENS) if _STOP_TOKENS in file else []
        if not isinstance(stop, list):
            raise FileFormatError(f"{_STOP_TOKENS}: expected an array, found {stop!r}")
        scaling = RopeScaling.from_metadata(value) if _PREFIX + SCALING_TYPE in file else None
        headless = _HEADLESS in file and file.get(_HEADLESS) is True
        return cls(
            architecture.model_type, **found, stop_token_ids=tuple(stop), rope_scaling=scaling, headless=headless
        )

    def to_metadata(self) -> dict[str, Any]:
        """The keys of docs/format.md: int is uint32, float is float32, a tuple an array of uint32."""
        metadata: dict[str, Any] = {_PREFIX + "model_type": self.model_type}
        metadata |= {_PREFIX + key.key: getattr(self, name) for name, (_, key) in keys_of(self.architecture).items()}
        if self.headless:
            metadata[_HEADLESS] = True
        if self.rope_scaling:
            metadata |= {_PREFIX + key: value for key, value in self.rope_scaling.to_metadata().items()}
        if self.stop_token_ids:
            metadata[_STOP_TOKENS] = self.stop_token_ids
        return metadata

    @property
    def architecture(self) -> Architecture:
        """Its names elsewhere. Raises UnsupportedModelError."""
        return find_architecture(self.model_type)

    @property
    def is_moe(self) -> bool:
        """Whether layers have experts in place of one feed-forward network."""
        return self.experts > 0

    @property
    def token_ffn_size(self) -> int:
        """Width of the feed-forward parts that a token goes through."""
        return self.ffn_size or self.expert_ffn_size * self.experts_per_token + self.shared_ffn_size

    @property
    def query_size(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_size

    @property
    def kv_size(self) -> int:
        """Width of all key heads, or value heads, together."""
        return self.kv_heads * self.head_size

    @property
    def rotated(self) -> int:
        """Values of a head that RoPE turns, the first ones."""
        return self.rotary_size or self.head_size

    def inverse_frequencies(self) -> list[float]:
        """RoPE's angle per position, [rotated / 2], to be rounded to float32 once."""
        plain = [self.rope_theta ** -(i / self.rotated) for i in range(0, self.rotated, 2)]
        return self.rope_scaling.scale(plain, self.rope_theta) if self.rope_scaling else plain


_HINTS = get_type_hints(ModelConfig, include_extras=True)
_KEYS: dict[str, tuple[type, Key]] = {
    name: (hint.__origin__, hint.__metadata__[0]) for name, hint in _HINTS.items() if hasattr(hint, "__metadata__")
}


def keys_of(architecture: Architecture) -> dict[str, tuple[type, Key]]:
    """The numbers that every model has and those of an architecture's blocks: each one's type and `Key`."""
    return {
        name: each
        for name, each in _KEYS.items()
        if not each[1].blocks or not architecture.blocks.isdisjoint(each[1].blocks)
    }
