"""Adapters merged into a checkpoint's weights as they are read: W + scale * B A, or other tensors in their place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qwen3edge.closing import Closing
from qwen3edge.config import ModelConfig
from qwen3edge.convert.adapter import AdapterFiles
from qwen3edge.convert.mlx_adapter import MLX_WEIGHTS, is_mlx, mlx_changes
from qwen3edge.convert.names import HEAD_SOURCE
from qwen3edge.convert.peft_adapter import PEFT_WEIGHTS, peft_changes
from qwen3edge.convert.source import PackedSource, TensorSource
from qwen3edge.errors import CheckpointError, UnsupportedModelError
from qwen3edge.formats.blocks import as_float32
from qwen3edge.formats.safetensors import SafetensorsFolder, read_json

CONFIG = "adapter_config.json"
Adapters: TypeAlias = "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"

_MAX_CONFIG_BYTES = 1 << 20


class LoraSource(Closing):
    """A PackedSource: another one with the adapter's updates added, in float32, where it has some.

    config: the model's, whose head may no longer be its embedding.
    """

    def __init__(self, source: TensorSource, adapter: str | os.PathLike[str], config: ModelConfig):
        """config: the checkpoint's.

        Raises CheckpointError (MissingShardError) for an adapter that is incomplete or of another model,
        UnsupportedModelError for one that cannot be merged.
        """
        folder = Path(adapter)
        if not folder.is_dir():
            raise CheckpointError(f"{folder}: expected a folder with {CONFIG} and {PEFT_WEIGHTS}, found none")
        self._source = source
        keys, where = read_json(folder / CONFIG, _MAX_CONFIG_BYTES), str(folder / CONFIG)
        weights = MLX_WEIGHTS if is_mlx(keys) else PEFT_WEIGHTS
        pickled = [name for name in ("adapter_model.bin", "adapters.npz") if (folder / name).is_file()]
        if pickled and not (folder / weights).is_file():
            raise UnsupportedModelError(f"{folder}: expected {weights}, found {pickled[0]}; save it as safetensors")
        self._files = SafetensorsFolder(folder, weights)
        with self.closed_on_failure():
            self._adapter = AdapterFiles(self._files, source, config)
            self._changes = (mlx_changes if is_mlx(keys) else peft_changes)(self._adapter, keys, where)
        self._changed = frozenset(self._changes.names())
        self.config = replace(config, tied_embeddings=False) if self._changes.unties else config

    def close(self) -> None:
        """Closes the adapter's files."""
        self._files.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """For the report."""
        changes, folder = self._changes, self._files.folder
        counts = (
            (sum(len(updates) for updates in changes.updates.values()), "matrices of the checkpoint have the updates"),
            (len(changes.whole), "tensors are those"),
            (sum(len(rows) for rows, _ in changes.rows.values()), "rows of the embedding or the head are those"),
        )
        untied = (f"the head is no longer the embedding, by {folder}",) if changes.unties else ()
        return (*(f"{count} {what} of {folder}" for count, what in counts if count), *untied)

    def updated(self) -> list[str]:
        """The tensors that are no longer the checkpoint's."""
        return list(self._changed)

    def names(self) -> list[str]:
        """All tensors."""
        names = self._source.names()
        return [*names, HEAD_SOURCE] if self._changes.unties and HEAD_SOURCE not in names else names

    def shape(self, name: str) -> tuple[int, ...]:
        """[rows, columns], or [elements]."""
        return self._source.shape(self._stored(name))

    def read_rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) with their update."""
        changes = self._changes
        weights: NDArray[Any]
        if name in changes.whole:
            weights = self._files.read_rows(changes.whole[name], start, stop)
        else:
            weights = self._source.read_rows(self._stored(name), start, stop)
        if name not in changes.rows and name not in changes.updates:
            return weights
        merged = np.array(as_float32(weights))  # of its own
        rows, stored = changes.rows.get(name, ([], ""))
        for position, row in enumerate(rows):
            if start <= row < stop:
                merged[row - start] = self._adapter.read_rows(stored, position, position + 1)[0]
        for update in changes.updates.get(name, ()):
            first, last = max(start, update.first_row), min(stop, update.first_row + update.rows)
            if first < last:
                b = update.b(first - update.first_row, last - update.first_row)
                merged[first - start : last - start] += np.float32(update.scale) * (b @ update.a())
        return merged

    def packed_format(self, name: str) -> str | None:
        """None for a tensor with updates."""
        if not isinstance(self._source, PackedSource) or name in self._changed:
            return None
        return self._source.packed_format(self._stored(name))

    def read_packed(self, name: str, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows [start, stop) as packed panels."""
        assert isinstance(self._source, PackedSource), "packed_format offers none"
        return self._source.read_packed(self._stored(name), start, stop)

    def _stored(self, name: str) -> str:
        """The source's name: of a head that it ties, the embedding's."""
        tied = name == HEAD_SOURCE and self._changes.unties
        return self._adapter.embedding if tied else name
