"""A GGUF file as the converter's source: its config, the formats that hold its types, its tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge.config import ModelConfig
from qwen3edge.convert.names import EMBEDDING, HEAD, ModelTensor, model_tensors
from qwen3edge.convert.quantize import as_float32
from qwen3edge.convert.recipe import HOLDS_ANY, Recipe, recipe_of
from qwen3edge.errors import CheckpointError, UnsupportedModelError
from qwen3edge.formats.gguf import GgufFile, Value
from qwen3edge.formats.gguf_blocks import INCOMING, UNQUANTIZED, GgmlType, read_weights, repack

MODEL_TYPES = {"qwen2": "qwen2", "qwen3": "qwen3", "qwen3moe": "qwen3_moe"}
"""By GGUF's name of the architecture."""
_ROPE_SCALING = ("rope.scaling.type", "rope.scaling.factor", "rope.scale_linear")


def gguf_config(file: GgufFile, stop_token_ids: tuple[int, ...] = ()) -> ModelConfig:
    """Raises UnsupportedModelError, CheckpointError."""
    keys = file.metadata
    architecture = keys.get("general.architecture")
    if isinstance(architecture, str) and architecture == "qwen3edge":
        raise CheckpointError(f"{file.path}: expected a checkpoint or a GGUF file, found what is a .q3e model already")
    if not isinstance(architecture, str) or architecture not in MODEL_TYPES:
        raise UnsupportedModelError(
            f"{file.path}: general.architecture: expected one of {', '.join(MODEL_TYPES)}, found {architecture!r}"
        )
    reader = _Keys(file, f"{architecture}.")
    heads, hidden = reader.integer("attention.head_count"), reader.integer("embedding_length")
    head_size = reader.integer("attention.key_length", hidden // heads if heads else 0)
    for key in ("attention.value_length", "rope.dimension_count"):
        if reader.integer(key, head_size) != head_size:
            raise UnsupportedModelError(f"{file.path}: {architecture}.{key}: expected the head size, {head_size}")
    scaling_key = f"{architecture}.rope.scaling.type"
    factor = reader.number("rope.scaling.factor", reader.number("rope.scale_linear", 1.0))
    scaling = keys.get(scaling_key, "linear")  # as llama.cpp reads it
    if not isinstance(scaling, str):
        raise CheckpointError(f"{file.path}: {scaling_key}: expected text, found {scaling!r:.60}")
    if scaling != "none" and not (scaling == "linear" and factor in (0.0, 1.0)):
        present = [key for name in _ROPE_SCALING if (key := f"{architecture}.{name}") in keys]
        removal = " ".join(f"--remove-metadata {key}" for key in present)
        raise UnsupportedModelError(
            f"{file.path}: {scaling_key}: expected none, or linear by 1, found {scaling!r:.60} by {factor:g}, which is "
            f"not supported; without it (gguf-new-metadata {removal} IN OUT) the model "
            "runs, unscaled, up to the positions that it was first trained for"
        )
    if reader.integer("attention.sliding_window", 0):
        raise UnsupportedModelError(
            f"{file.path}: {architecture}.attention.sliding_window: expected none; it is not supported"
        )
    embedding = file.tensors.get(EMBEDDING)
    if embedding is None or len(embedding.shape) != 2:
        raise CheckpointError(f"{file.path}: expected a matrix {EMBEDDING!r}, found none")
    kind = MODEL_TYPES[architecture]
    moe = kind == "qwen3_moe"
    if moe and reader.number("expert_weights_scale", 1.0) not in (0.0, 1.0):
        raise UnsupportedModelError(f"{architecture}.expert_weights_scale: expected 1; others are not supported")
    return ModelConfig(
        model_type=kind,
        vocab_size=embedding.rows,
        context_length=reader.integer("context_length"),
        hidden_size=hidden,
        layers=reader.integer("block_count"),
        ffn_size=0 if moe else reader.integer("feed_forward_length"),
        heads=heads,
        kv_heads=reader.integer("attention.head_count_kv", heads),
        head_size=head_size,
        rms_epsilon=reader.number("attention.layer_norm_rms_epsilon"),
        rope_theta=reader.number("rope.freq_base", 10000.0),
        qk_norm=kind != "qwen2",
        qkv_bias=kind == "qwen2",
        tied_embeddings=HEAD not in file.tensors,
        stop_token_ids=stop_token_ids,
        experts=reader.integer("expert_count") if moe else 0,
        experts_per_token=reader.integer("expert_used_count") if moe else 0,
        expert_ffn_size=reader.integer("expert_feed_forward_length") if moe else 0,
        norm_topk_prob=moe,  # as llama.cpp does, whatever the keys say
    )


class _Keys:
    """The keys of an architecture."""

    def __init__(self, file: GgufFile, prefix: str):
        self._metadata: Mapping[str, Value] = file.metadata
        self._where = f"{file.path}: {prefix}"
        self._prefix = prefix

    def integer(self, name: str, default: int | None = None) -> int:
        """An array of one value for all layers, or a number."""
        value = self._metadata.get(self._prefix + name, default)
        if isinstance(value, np.ndarray) and value.size and value.dtype.kind in "iu":
            if (value != value[0]).any():
                raise UnsupportedModelError(f"{self._where}{name}: expected the same in all layers")
            value = int(value[0])
        if type(value) is not int:
            raise CheckpointError(
                f"{self._where}{name}: expected an integer, found {'nothing' if value is None else repr(value)}"
            )
        return value

    def number(self, name: str, default: float | None = None) -> float:
        value = self._metadata.get(self._prefix + name, default)
        if type(value) not in (int, float):
            raise CheckpointError(
                f"{self._where}{name}: expected a number, found {'nothing' if value is None else repr(value)}"
            )
        return float(value)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Place:
    """Where the file has a tensor."""

    name: str  # in the file
    shape: tuple[int, ...]
    first_row: int = 0
    scale: NDArray[np.float32] | None = None  # of the whole or of each expert, on top of the type's own


class GgufSource:
    """A PackedSource: the tensors by the names that Hugging Face has for them."""

    def __init__(self, file: GgufFile, config: ModelConfig):
        """Raises CheckpointError for a tensor that is absent, one that would be ignored, or another shape than the
        metadata's; UnsupportedModelError for a type that cannot be read."""
        self._file = file
        self._places: dict[str, _Place] = {}  # by the checkpoint's name
        used = set()
        for tensor in model_tensors(config):
            for name in _stored_names(tensor, file):
                self._check(tensor, name, config)
                used.add(name)
                scale = None
                if name.startswith("blk.") and not tensor.is_vector and tensor.required_format is None:
                    scale = self._read_scale(name)
                    # the second is of activations, which are not quantized as there
                    used.update(_beside(name, kind) for kind in ("scale", "input_scale"))
                if tensor.holds_experts:
                    self._places[name] = _Place(name, file.tensors[name].shape, 0, scale)
                else:
                    first = 0 if name == tensor.name else _rows_before(tensor, config)
                    self._places[tensor.source] = _Place(name, tensor.shape, first, scale)
        for name in sorted(file.tensors.keys() - used):
            raise CheckpointError(f"{file.path}: the metadata does not account for the tensor {name!r}")

    def names(self) -> list[str]:
        """All tensors."""
        return list(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        """[rows, columns], or [elements]."""
        return self._places[name].shape

    def read_rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop): float32, float16, or uint16 holding bfloat16; of a vector, elements."""
        place = self._places[name]
        tensor, first = self._file.tensors[place.name], place.first_row
        if len(tensor.shape) == 1:
            return read_weights(tensor.type, self._file.read_blocks(place.name, 0, 1))[0, first + start : first + stop]
        weights = read_weights(tensor.type, self._file.read_blocks(place.name, first + start, first + stop))
        if place.scale is None:
            return weights
        per_scale = tensor.rows // place.scale.size
        scaled: NDArray[Any] = as_float32(weights) * place.scale[(first + np.arange(start, stop)) // per_scale, None]
        return scaled

    def stored_names(self, names: Collection[str]) -> list[str]:
        """What the file calls these tensors."""
        return [self._places[name].name for name in names]

    def packed_format(self, name: str) -> str | None:
        """The block format in which `read_packed` gives a matrix."""
        place = self._places[name]
        incoming = INCOMING[self._file.tensors[place.name].type]
        return incoming.format if incoming.planes is not None and place.scale is None else None

    def read_packed(self, name: str, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows [start, stop) as packed panels."""
        place = self._places[name]
        tensor, first = self._file.tensors[place.name], place.first_row
        try:
            raw = self._file.read_blocks(place.name, first + start, first + stop)
            return repack(tensor.type, raw, tensor.columns)
        except CheckpointError as error:
            raise CheckpointError(f"tensor {place.name!r}, rows from {start} on: {error}") from None

    def _check(self, tensor: ModelTensor, name: str, config: ModelConfig) -> None:
        found = self._file.tensors.get(name)
        if found is None:
            raise CheckpointError(f"{self._file.path}: expected the tensor {name!r}, found none of that name")
        shape = tensor.shape
        if name.endswith(_FUSED):
            shape = (config.query_size + 2 * config.kv_size, *tensor.shape[1:])
        if not tensor.holds_experts and found.shape != shape:  # those are StackedExperts' to check
            raise CheckpointError(
                f"{self._file.path}: {name!r}: expected the shape {list(shape)} by the metadata, "
                f"found {list(found.shape)}"
            )
        if found.type not in INCOMING:
            raise UnsupportedModelError(f"{self._file.path}: {name!r}: {found.type.name} is not supported")

    def _read_scale(self, name: str) -> NDArray[np.float32] | None:
        """None where it is 1. Raises CheckpointError."""
        beside = _beside(name, "scale")
        found = self._file.tensors.get(beside)
        if found is None:
            return None
        shape = self._file.tensors[name].shape
        expected = (shape[0],) if len(shape) == 3 else (1,)
        if found.shape != expected or found.type != GgmlType.F32:
            raise CheckpointError(
                f"{self._file.path}: {beside!r}: expected F32 {list(expected)}, "
                f"found {found.type.name} {list(found.shape)}"
            )
        scale = as_float32(read_weights(found.type, self._file.read_blocks(beside, 0, 1))[0])
        return None if (scale == 1).all() else scale


_FUSED = (".attn_qkv.weight", ".attn_qkv.bias")


def _beside(name: str, kind: str) -> str:
    return f"{name.rpartition('.')[0]}.{kind}"


def _stored_names(tensor: ModelTensor, file: GgufFile) -> tuple[str, ...]:
    """The file's tensors that one of ours is made of: its own, two, or one that it shares with others."""
    if tensor.name in file.tensors:  # as `ffn_gate_up_exps`, too, is GGUF's name of gates and ups in one
        return (tensor.name,)
    if "gate_up_exps" in tensor.name:
        return tuple(tensor.name.replace("gate_up", part) for part in ("gate", "up"))
    for letter in "qkv":
        fused = tensor.name.replace(f".attn_{letter}.", ".attn_qkv.")
        if fused != tensor.name and fused in file.tensors:
            return (fused,)
    return (tensor.name,)


def _rows_before(tensor: ModelTensor, config: ModelConfig) -> int:
    """Of queries, keys and values in one tensor, in this order."""
    if ".attn_q." in tensor.name:
        return 0
    return config.query_size + (config.kv_size if ".attn_v." in tensor.name else 0)


def _matrix_types(file: GgufFile, config: ModelConfig) -> dict[str, tuple[GgmlType, ...]]:
    """The file's types that each of our matrices is made of, but for those with a format of their own."""
    return {
        tensor.name: tuple(dict.fromkeys(file.tensors[name].type for name in _stored_names(tensor, file)))
        for tensor in model_tensors(config)
        if not tensor.is_vector and tensor.required_format is None
    }


def keeping_recipe(file: GgufFile, config: ModelConfig, unquantized: Recipe) -> Recipe:
    """Each matrix in the format that holds its type; `unquantized` decides where no matrix of the file is quantized."""
    types = _matrix_types(file, config)
    if all(kind in UNQUANTIZED for kinds in types.values() for kind in kinds):
        return unquantized
    formats = {}
    for name, kinds in types.items():
        kept = {INCOMING[kind].format for kind in kinds}
        formats[name] = (kept.pop() if len(kept) == 1 else None) or HOLDS_ANY
    return recipe_of("gguf", formats)


def kept_notes(
    file: GgufFile, config: ModelConfig, formats: Mapping[str, str], updated: Collection[str] = ()
) -> tuple[str, ...]:
    """One line for each type of the file: what it became, and whether that is the same.

    formats: by tensor. updated: the file's tensors that an adapter changed.
    """
    counts: Counter[tuple[tuple[GgmlType, ...], str, bool, bool]] = Counter()
    types, changed = _matrix_types(file, config), set(updated)
    for tensor in model_tensors(config):
        if tensor.name in types:
            stored = _stored_names(tensor, file)
            scaled = any(_beside(name, "scale") in file.tensors for name in stored)
            counts[types[tensor.name], formats[tensor.name], not changed.isdisjoint(stored), scaled] += 1
    return tuple(
        f"{count} matrices in {' and '.join(kind.name for kind in kinds)} are stored as {kept}: "
        f"{_how(kinds, kept, new, scaled)}"
        for (kinds, kept, new, scaled), count in counts.items()
    )


def _how(kinds: tuple[GgmlType, ...], kept: str, updated: bool, scaled: bool) -> str:
    kind, *others = kinds
    if updated:
        return "with the adapter's updates" + ("" if kept == "f32" else ", quantized")
    incoming = INCOMING[kind]
    if kept == incoming.format and incoming.planes is not None and not others and not scaled:
        return "the same weights" if incoming.exact else "the same levels, their scales multiplied out"
    if kept == "f32" or (kept == "bf16" and kinds == (GgmlType.BF16,)):
        return "the same weights"
    return "quantized" if all(kind in UNQUANTIZED for kind in kinds) else "dequantized and quantized again"
