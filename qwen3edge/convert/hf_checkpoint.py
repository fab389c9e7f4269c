"""A Hugging Face folder as the converter's source: its config and weights, and where these contradict each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qwen3edge.architectures.keys import rope_notes, text_keys
from qwen3edge.closing import Closing
from qwen3edge.config import ModelConfig
from qwen3edge.convert.names import HEAD_SOURCE, embedding_source, is_bare
from qwen3edge.convert.pooling import check_pooling
from qwen3edge.convert.quantized_methods import is_quantized
from qwen3edge.convert.quantized_source import QuantizedSource
from qwen3edge.convert.same_weights import same_weights
from qwen3edge.convert.source import TensorSource
from qwen3edge.errors import CheckpointError, UnsupportedModelError
from qwen3edge.formats.safetensors import SafetensorsFolder, read_json

_MAX_CONFIG_BYTES = 1 << 20


class HfCheckpoint(Closing):
    """config: as the weights are, whatever config.json says. source: the weights, quantized ones as they would be read.
    notes: what was decided, for people. A context manager.
    """

    config: ModelConfig
    source: TensorSource
    notes: tuple[str, ...]
    quantized: QuantizedSource | None

    def __init__(self, folder: Path):
        """Raises CheckpointError (MissingShardError), UnsupportedModelError."""
        keys = read_json(folder / "config.json", _MAX_CONFIG_BYTES)
        try:
            config = ModelConfig.from_hf(keys)
        except (CheckpointError, UnsupportedModelError) as error:
            raise type(error)(f"{folder / 'config.json'}: {error}") from None
        check_pooling(folder)
        files = self._files = SafetensorsFolder(folder, any_type=True, name_of=config.architecture.source_name)
        with self.closed_on_failure():
            self.quantized = QuantizedSource(files, config, keys) if is_quantized(files) else None
            self.source = self.quantized or files
            self.config, tied = _head_as_stored(self.source, config)
        left: tuple[str, ...] = ()
        if self.quantized is not None:
            self.quantized.config = self.config
        elif keys.get("quantization_config"):
            left = ("quantization_config is left over from another checkpoint: no weight is quantized",)
        if files.left_out:
            parts = sorted({".".join(name.split(".")[:2]) for name in files.left_out})
            left += (f"{len(files.left_out)} tensors are left out, which a text model does without: {_some(parts)}",)
        self.notes = (*files.notes, *rope_notes(text_keys(keys)), *left, *tied)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The weights' files."""
        return self._files.paths

    def close(self) -> None:
        """Closes the weights' files."""
        self._files.close()


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:3])}{' ..' if len(names) > 3 else ''}"


def _head_as_stored(source: TensorSource, config: ModelConfig) -> tuple[ModelConfig, tuple[str, ...]]:
    """As transformers 5: a head that is stored and is not the embedding is the head, whatever config.json says. Where
    none is stored and names lack `model.`, the model never had one.
    """
    found = source.names()
    if not config.tied_embeddings and HEAD_SOURCE not in found and is_bare(found):
        note = f"there is no {HEAD_SOURCE}: a model for embeddings, which gives no answers"
        return replace(config, tied_embeddings=True, headless=True), (note,)
    embedding = embedding_source(found)
    stored_twice = config.tied_embeddings and HEAD_SOURCE in found and embedding != HEAD_SOURCE
    if not stored_twice or same_weights(source, embedding, HEAD_SOURCE):
        return config, ()
    note = f"the head is {HEAD_SOURCE}, which differs from the embedding, though config.json ties the two"
    return replace(config, tied_embeddings=False), (note,)
