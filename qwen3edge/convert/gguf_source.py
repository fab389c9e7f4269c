"""A GGUF file as the converter's source: its config, the formats that hold its types, its tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge.architectures import ARCHITECTURES
from qwen3edge.architectures.architecture import ModelTensor
from qwen3edge.architectures.keys import integer, number
from qwen3edge.config import ModelConfig, keys_of
from qwen3edge.convert.names import EMBEDDING, HEAD, model_tensors
from qwen3edge.convert.recipe import HOLDS_ANY, Recipe, recipe_of
from qwen3edge.convert.rope_scaling import gguf_scaling
from qwen3edge.errors import CheckpointError, UnsupportedModelError
from qwen3edge.formats.blocks import as_float32
from qwen3edge.formats.gguf import GgufFile
from qwen3edge.formats.gguf_blocks import INCOMING, UNQUANTIZED, GgmlType, read_weights, repack


def gguf_config(file: GgufFile) -> ModelConfig:
    """Raises UnsupportedModelError, CheckpointError."""
    keys = file.metadata
    architecture = keys.get("general.architecture")
    if isinstance(architecture, str) and architecture == "qwen3edge":
        raise CheckpointError(f"{file.path}: expected a checkpoint or a GGUF file, found what is a .q3e model already")
    known = {each.gguf_name: each for each in ARCHITECTURES.values()}
    if not isinstance(architecture, str) or architecture not in known:
        raise UnsupportedModelError(
            f"{file.path}: general.architecture: expected one of {', '.join(known)}, found {architecture!r}"
        )

    def whole(name: str, default: int | None = None) -> int:
        return _whole(file, architecture, name, default)

    def real(name: str, default: float | None = None) -> float:
        key = f"{file.path}: {architecture}.{name}"
        return number({key: keys.get(f"{architecture}.{name}", default)}, key)

    own = known[architecture]
    numbers = keys_of(own)
    heads, hidden = whole("attention.head_count"), whole("embedding_length")
    head_size = whole("attention.key_length", hidden // heads if heads else 0)
    for key in ("attention.value_length", "rope.dimension_count"):
        if key not in {number.key for _, number in numbers.values()} and whole(key, head_size) != head_size:
            raise UnsupportedModelError(f"{file.path}: {architecture}.{key}: expected the head size, {head_size}")
    prefix = f"{architecture}."
    own_keys = {key.removeprefix(prefix): value for key, value in keys.items() if key.startswith(prefix)}
    trained = whole("context_length")
    scaling = gguf_scaling(
        f"{file.path}: {architecture}", own_keys, real, lambda: whole("rope.scaling.original_context_length", trained)
    )
    if whole("attention.sliding_window", 0):
        raise UnsupportedModelError(
            f"{file.path}: {architecture}.attention.sliding_window: expected none; it is not supported"
        )
    embedding = file.tensors.get(EMBEDDING)
    if embedding is None or len(embedding.shape) != 2:
        raise CheckpointError(f"{file.path}: expected a matrix {EMBEDDING!r}, found none")
    if real("expert_weights_scale", 1.0) not in (0.0, 1.0):
        raise UnsupportedModelError(f"{architecture}.expert_weights_scale: expected 1; others are not supported")
    read: dict[type, Callable[..., Any]] = {int: whole, float: real}
    defaults = {"kv_heads": heads, "head_size": head_size, "rope_theta": 10000.0}
    found = {
        name: read[kind](key.key, defaults.get(name))
        for name, (kind, key) in numbers.items()
        if kind in read and name not in ("vocab_size", "context_length")
    }
    drafts = whole(_DRAFT_LAYERS, 0)
    if not 0 <= drafts < max(found["layers"], 1):
        raise UnsupportedModelError(
            f"{file.path}: {architecture}.{_DRAFT_LAYERS}: expected fewer than all, found {drafts}"
        )
    found["layers"] -= drafts
    config = ModelConfig(
        own.model_type,
        embedding.rows,
        **found,
        context_length=max(trained, scaling.context_length if scaling else 0),
        rope_scaling=scaling,
        **own.constants,
        **own.gguf_constants,
        tied_embeddings=HEAD not in file.tensors,
    )
    for key, value in own.gguf_keys(config).items():
        if type(value) is int and whole(key, value) != value:
            raise UnsupportedModelError(f"{file.path}: {architecture}.{key}: expected {value}, found {whole(key)}")
    return config


def _whole(file: GgufFile, architecture: str, name: str, default: int | None = None) -> int:
    """A number, or an array of the same for all layers."""
    key = f"{file.path}: {architecture}.{name}"
    value = file.metadata.get(f"{architecture}.{name}", default)
    if isinstance(value, np.ndarray) and value.size and value.dtype.kind in "iu":
        if (value != value[0]).any():
            raise UnsupportedModelError(f"{key}: expected the same in all layers")
        value = int(value[0])
    return integer({key: value}, key)


@dataclass(frozen=True)
class _Place:
    """Where the file has a tensor."""

    name: str  # in the file
    shape: tuple[int, ...]
    first_row: int = 0
    scale: NDArray[np.float32] | None = None  # of the whole or of each expert, on top of the type's own
    transposed: bool = False  # a matrix there, a vector here


class GgufSource:
    """A PackedSource: the tensors by the names that Hugging Face has for them."""

    def __init__(self, file: GgufFile, config: ModelConfig):
        """Raises CheckpointError for a tensor that is absent, one that would be ignored, or another shape than the
        metadata's; UnsupportedModelError for a type that cannot be read."""
        self._file, self._config = file, config
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
                    first = 0 if name == tensor.gguf_name else _rows_before(tensor, config)
                    transposed = tensor.change is not None and tensor.change.transposed
                    self._places[tensor.source] = _Place(name, tensor.shape, first, scale, transposed)
        count = _whole(file, config.architecture.gguf_name, _DRAFT_LAYERS, 0)
        drafts = tuple(f"blk.{layer}." for layer in range(config.layers, config.layers + count))
        self._left_out = [name for name in file.tensors if name.startswith(drafts)]
        for name in sorted(file.tensors.keys() - used - {*self._left_out}):
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
        if place.transposed:
            matrix = as_float32(read_weights(tensor.type, self._file.read_blocks(place.name, 0, tensor.rows)))
            elements: NDArray[Any] = matrix.T.reshape(-1)[start:stop]
            return elements
        if len(tensor.shape) == 1:
            return read_weights(tensor.type, self._file.read_blocks(place.name, 0, 1))[0, first + start : first + stop]
        weights = read_weights(tensor.type, self._file.read_blocks(place.name, first + start, first + stop))
        if place.scale is None:
            return weights
        per_scale = tensor.rows // place.scale.size
        scaled: NDArray[Any] = as_float32(weights) * place.scale[(first + np.arange(start, stop)) // per_scale, None]
        return scaled

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

    def keeping_recipe(self, unquantized: Recipe) -> Recipe:
        """Each matrix in the format that holds its type; `unquantized` decides where none of the file is quantized."""
        types = self._matrix_types()
        if all(kind in UNQUANTIZED for kinds in types.values() for kind in kinds):
            return unquantized
        formats = {}
        for name, kinds in types.items():
            kept = {INCOMING[kind].format for kind in kinds}
            formats[name] = (kept.pop() if len(kept) == 1 else None) or HOLDS_ANY
        return recipe_of("gguf", formats)

    def notes(self, formats: Mapping[str, str], updated: Collection[str]) -> tuple[str, ...]:
        """One line for each type of the file: what it became, and whether that is the same.

        formats: by tensor. updated: this source's tensors that an adapter changed, and others.
        """
        counts: Counter[tuple[tuple[GgmlType, ...], str, bool, bool]] = Counter()
        types, changed = self._matrix_types(), {self._places[name].name for name in updated if name in self._places}
        for tensor in model_tensors(self._config):
            if tensor.name in types:
                stored = _stored_names(tensor, self._file)
                scaled = any(_beside(name, "scale") in self._file.tensors for name in stored)
                counts[types[tensor.name], formats[tensor.name], not changed.isdisjoint(stored), scaled] += 1
        left = (f"{len(self._left_out)} tensors are left out: a layer that drafts tokens",) if self._left_out else ()
        return left + tuple(
            f"{count} matrices in {' and '.join(kind.name for kind in kinds)} are stored as {kept}: "
            f"{_how(kinds, kept, new, scaled)}"
            for (kinds, kept, new, scaled), count in counts.items()
        )

    def _matrix_types(self) -> dict[str, tuple[GgmlType, ...]]:
        """The file's types that each of our matrices is made of, but for those with a format of their own."""
        return {
            tensor.name: tuple(
                dict.fromkeys(self._file.tensors[name].type for name in _stored_names(tensor, self._file))
            )
            for tensor in model_tensors(self._config)
            if not tensor.is_vector and tensor.required_format is None
        }

    def _check(self, tensor: ModelTensor, name: str, config: ModelConfig) -> None:
        found = self._file.tensors.get(name)
        if found is None:
            raise CheckpointError(f"{self._file.path}: expected the tensor {name!r}, found none of that name")
        shape = gguf_shape(tensor)
        if name.endswith(_FUSED) and name != tensor.gguf_name:
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
_DRAFT_LAYERS = "nextn_predict_layers"  # behind those that its block_count is for besides


def gguf_shape(tensor: ModelTensor) -> tuple[int, ...]:
    """As GGUF has a tensor that is neither experts' nor a part of another."""
    if tensor.change is not None and tensor.change.transposed:
        return tensor.source_shape[0], tensor.source_shape[-1]
    return tensor.shape


def _beside(name: str, kind: str) -> str:
    return f"{name.rpartition('.')[0]}.{kind}"


def _stored_names(tensor: ModelTensor, file: GgufFile) -> tuple[str, ...]:
    """The file's tensors that one of ours is made of: its own, two, or one that it shares with others."""
    name = tensor.gguf_name
    if name in file.tensors:  # as `ffn_gate_up_exps`, too, is GGUF's name of gates and ups in one
        return (name,)
    if "gate_up_exps" in name:
        return tuple(name.replace("gate_up", part) for part in ("gate", "up"))
    for letter in "qkv":
        fused = name.replace(f".attn_{letter}.", ".attn_qkv.")
        if fused != name and fused in file.tensors:
            return (fused,)
    return (name,)


def _rows_before(tensor: ModelTensor, config: ModelConfig) -> int:
    """Of queries, keys and values in one tensor, in this order."""
    if ".attn_q." in tensor.name:
        return 0
    return config.query_size + (config.kv_size if ".attn_v." in tensor.name else 0)


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
