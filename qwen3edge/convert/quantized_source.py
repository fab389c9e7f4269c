"""A quantized Hugging Face checkpoint as the converter's source: repacked where a block format holds the same codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge.config import ModelConfig
from qwen3edge.convert.experts import StackedExperts
from qwen3edge.convert.names import model_tensors, source_names
from qwen3edge.convert.quantized_methods import FloatMatrix, Stored, read_stored
from qwen3edge.convert.recipe import HOLDS_ANY, Recipe, recipe_of
from qwen3edge.errors import CheckpointError
from qwen3edge.formats.grouped_integers import Kept, Scales, dequantize_grouped, find_kept, pack_grouped, rows_of
from qwen3edge.formats.safetensors import SafetensorsFolder

_CACHED = 4  # matrices' scales, some megabytes each


class QuantizedSource:
    """A PackedSource. method: whose quantization it is, for people. config: the model's."""

    def __init__(self, files: SafetensorsFolder, config: ModelConfig, keys: Mapping[str, Any]):
        """keys: of config.json. Raises UnsupportedModelError for methods that cannot be read, CheckpointError."""
        stored: Stored = read_stored(files, config, keys)
        self.method = stored.method
        self._files, self.config = files, config
        self._matrices = stored.matrices
        self._names = [*(name for name in files.names() if name not in stored.consumed), *self._matrices]
        self._scales = lru_cache(_CACHED)(self._read_scales)
        self._kept = lru_cache(None)(self._find_kept)

    def names(self) -> list[str]:
        """All tensors, each under the name that it has unquantized."""
        return list(self._names)

    def shape(self, name: str) -> tuple[int, ...]:
        """[rows, columns], [elements], or [experts, rows, columns]."""
        return self._matrices[name].shape if name in self._matrices else self._files.shape(name)

    def read_rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop): float32, float16, or uint16 holding bfloat16."""
        matrix = self._matrices.get(name)
        if matrix is None:
            return self._files.read_rows(name, start, stop)
        if isinstance(matrix, FloatMatrix):
            return matrix.read_rows(start, stop)
        return dequantize_grouped(matrix.read_codes(start, stop), rows_of(self._scales(name), start, stop))

    def packed_format(self, name: str) -> str | None:
        """The block format with the same codes, if there is one."""
        kept = self._kept(name)
        return None if kept is None else kept.format

    def read_packed(self, name: str, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows [start, stop) as packed panels."""
        matrix, kept = self._matrices[name], self._kept(name)
        assert kept is not None and not isinstance(matrix, FloatMatrix), "packed_format offers none"
        return pack_grouped(kept.format, matrix.read_codes(start, stop), rows_of(self._scales(name), start, stop))

    def keeping_recipe(self, unquantized: Recipe) -> Recipe:
        """Each matrix in the format that holds it."""
        return recipe_of("as stored", {name: self._held(parts) or HOLDS_ANY for name, parts in self._parts().items()})

    def notes(self, formats: Mapping[str, str], updated: Collection[str]) -> tuple[str, ...]:
        """One line for each format: what it holds, and whether that is the same.

        formats: by tensor of the `.q3e` file. updated: this source's tensors that an adapter changed.
        """
        changed = set(updated)
        counts: Counter[tuple[str, str]] = Counter()
        for name, parts in self._parts().items():
            kept = formats[name]
            if not changed.isdisjoint(parts):
                how = "with the adapter's updates" + ("" if kept == "f32" else ", quantized")
            elif self._matrices.keys().isdisjoint(parts):
                how = "not quantized there" + ("" if kept in ("f32", "bf16") else ", quantized here")
            elif self._held(parts) == kept:
                held = self._kept(parts[0])
                assert held is not None, "_held says so"
                how = held.how
            else:
                how = "dequantized" + ("" if kept == "f32" else " and quantized again")
            counts[kept, how] += 1
        return tuple(
            f"{count} matrices of the {self.method} checkpoint are stored as {kept}: {how}"
            for (kept, how), count in counts.items()
        )

    def _parts(self) -> dict[str, tuple[str, ...]]:
        """The tensors that each matrix of the `.q3e` file is made of, but for those with a format of their own."""
        tensors = model_tensors(self.config)
        stacked = StackedExperts(self, self.config) if self.config.is_moe else None
        names = source_names(tensors, (stacked or self).names(), self.config.tied_embeddings)
        return {
            tensor.name: stacked.parts(names[tensor.name])
            if stacked and tensor.holds_experts
            else (names[tensor.name],)
            for tensor in tensors
            if not tensor.is_vector and tensor.required_format is None
        }

    def _held(self, parts: tuple[str, ...]) -> str | None:
        formats = {self.packed_format(part) for part in parts}
        return formats.pop() if len(formats) == 1 else None

    def _find_kept(self, name: str) -> Kept | None:
        matrix = self._matrices.get(name)
        if matrix is None or isinstance(matrix, FloatMatrix):
            return None
        try:
            return find_kept(matrix, self._scales(name))
        except CheckpointError as error:
            raise CheckpointError(f"tensor {name!r}: {error}") from None

    def _read_scales(self, name: str) -> Scales:
        matrix = self._matrices[name]
        assert not isinstance(matrix, FloatMatrix), "only integers have them"
        return matrix.read_scales()
