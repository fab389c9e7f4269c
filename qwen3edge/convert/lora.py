"""A PEFT adapter merged into a checkpoint's weights: W + scale * B A, as they are read."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge.config import ModelConfig
from qwen3edge.convert.experts import find_expert
from qwen3edge.convert.quantize import as_float32
from qwen3edge.convert.source import PackedSource, TensorSource
from qwen3edge.errors import CheckpointError, UnsupportedModelError
from qwen3edge.formats.safetensors import SafetensorsFolder, read_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_MAX_CONFIG_BYTES = 1 << 20
_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<half>[AB])\.weight\Z")
_REFUSED = {  # what changes the weights in other ways than W + scale * B A
    "use_dora": "DoRA",
    "fan_in_fan_out": "transposed weights",
    "lora_bias": "biases",
    "use_qalora": "QA-LoRA",
    "modules_to_save": "whole modules",
    "layer_replication": "replicated layers",
    "target_parameters": "parameters that are no module's",
    "trainable_token_indices": "trained tokens",
    "alora_invocation_tokens": "an adapter that tokens switch on",
    "arrow_config": "a router of adapters",
    "use_bdlora": "block-diagonal LoRA",
}
_CACHED = 8  # A matrices, some megabytes each


@dataclass(frozen=True)
class _Update:
    """Of one matrix, which may be some rows of a checkpoint's tensor."""

    a: str  # [rank, columns], its name in the adapter
    b: str  # [rows, rank]
    scale: float
    first_row: int
    rows: int


class LoraSource:
    """A PackedSource: another one with the adapter's updates added, in float32, where it has some."""

    def __init__(self, source: TensorSource, adapter: str | os.PathLike[str], config: ModelConfig):
        """config: the checkpoint's.

        Raises CheckpointError (MissingShardError) for an adapter that is incomplete or of another model,
        UnsupportedModelError for one that is no plain LoRA.
        """
        folder = Path(adapter)
        if not folder.is_dir():
            raise CheckpointError(f"{folder}: expected a folder with {CONFIG} and {WEIGHTS}, found none")
        self._source = source
        scaling = _Scaling(read_json(folder / CONFIG, _MAX_CONFIG_BYTES), str(folder / CONFIG))
        self._adapter = SafetensorsFolder(folder, WEIGHTS)
        try:
            self._updates = _updates(self._adapter, source, scaling, config)
        except BaseException:
            self._adapter.close()
            raise
        self._read_a = lru_cache(_CACHED)(self._read_whole)

    def __enter__(self) -> LoraSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._adapter.close()

    @property
    def note(self) -> str:
        """For the report."""
        count = sum(len(updates) for updates in self._updates.values())
        return f"{count} matrices of the checkpoint have the updates of {self._adapter.folder}"

    def updated(self) -> list[str]:
        """The tensors that are no longer the checkpoint's."""
        return list(self._updates)

    def names(self) -> list[str]:
        """All tensors."""
        return self._source.names()

    def shape(self, name: str) -> tuple[int, ...]:
        """[rows, columns], or [elements]."""
        return self._source.shape(name)

    def read_rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) with their update."""
        weights = self._source.read_rows(name, start, stop)
        if name not in self._updates:
            return weights
        merged = np.array(as_float32(weights))  # of its own
        for update in self._updates[name]:
            first, last = max(start, update.first_row), min(stop, update.first_row + update.rows)
            if first < last:
                b = as_float32(self._adapter.read_rows(update.b, first - update.first_row, last - update.first_row))
                merged[first - start : last - start] += np.float32(update.scale) * (b @ self._read_a(update.a))
        return merged

    def packed_format(self, name: str) -> str | None:
        """None for a tensor with updates."""
        packed = isinstance(self._source, PackedSource) and name not in self._updates
        return self._source.packed_format(name) if packed else None  # type: ignore[attr-defined]

    def read_packed(self, name: str, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows [start, stop) as packed panels."""
        assert isinstance(self._source, PackedSource), "packed_format offers none"
        return self._source.read_packed(name, start, stop)

    def _read_whole(self, name: str) -> NDArray[np.float32]:
        return as_float32(self._adapter.read_rows(name, 0, self._adapter.shape(name)[0]))


class _Scaling:
    """What adapter_config.json says of the updates' size."""

    def __init__(self, config: Mapping[str, Any], where: str):
        if config.get("peft_type") != "LORA":
            raise UnsupportedModelError(f"{where}: peft_type: expected 'LORA', found {config.get('peft_type')!r}")
        for key, what in _REFUSED.items():
            if config.get(key):
                raise UnsupportedModelError(f"{where}: {key}: expected none, found {what}, which cannot be merged")
        if config.get("bias", "none") != "none":
            raise UnsupportedModelError(f"{where}: bias: expected 'none', found {config['bias']!r}")
        self._root = config.get("use_rslora", False)
        self._alpha = self._number(config.get("lora_alpha"), where)
        patterns = config.get("alpha_pattern") or {}
        if not isinstance(patterns, Mapping) or type(self._root) is not bool:
            raise CheckpointError(f"{where}: expected an object alpha_pattern and a flag use_rslora")
        self._patterns = {str(pattern): self._number(alpha, where) for pattern, alpha in patterns.items()}

    @staticmethod
    def _number(alpha: object, where: str) -> float:
        if type(alpha) not in (int, float) or not math.isfinite(alpha):  # type: ignore[arg-type]
            raise CheckpointError(f"{where}: lora_alpha: expected a number, found {alpha!r}")
        return float(alpha)  # type: ignore[arg-type]

    def of(self, module: str, rank: int) -> float:
        """alpha / rank, or alpha / sqrt(rank)."""
        # A key is a module's name or the end of one. PEFT takes regular expressions, too; those match nothing here.
        matching = (alpha for key, alpha in self._patterns.items() if module == key or module.endswith(f".{key}"))
        alpha = next(matching, self._alpha)
        return alpha / (math.sqrt(rank) if self._root else rank)

    @property
    def patterns(self) -> list[str]:
        """The modules with an alpha of their own."""
        return list(self._patterns)


def _updates(
    adapter: SafetensorsFolder, source: TensorSource, scaling: _Scaling, config: ModelConfig
) -> dict[str, list[_Update]]:
    """By the checkpoint's name of the tensor."""
    halves: dict[str, dict[str, str]] = {}
    for name in adapter.names():
        match = _TENSOR.match(name)
        if match is None:
            raise UnsupportedModelError(
                f"{adapter.folder}: expected tensors lora_A and lora_B of linear modules only, found {name!r}"
            )
        halves.setdefault(match["module"], {})[match["half"]] = name
    if not halves:
        raise CheckpointError(f"{adapter.folder}: expected updates, found none")
    for pattern in scaling.patterns:
        if not any(module == pattern or module.endswith(f".{pattern}") for module in halves):
            raise UnsupportedModelError(f"{adapter.folder}: alpha_pattern: expected modules' names, found {pattern!r}")
    found = set(source.names())
    updates: dict[str, list[_Update]] = {}
    for module, names in halves.items():
        place = _find(module, found, source, config)
        if place is None or (config.tied_embeddings and module == "lm_head"):
            raise CheckpointError(f"{adapter.folder}: expected modules of the checkpoint, found {module!r}")
        if names.keys() != {"A", "B"}:
            raise CheckpointError(f"{adapter.folder}: {module!r}: expected lora_A and lora_B, found one of them")
        weight, first_row, shape = place
        a, b = adapter.shape(names["A"]), adapter.shape(names["B"])
        if len(a) != 2 or len(b) != 2 or not a[0] or a[0] != b[1] or (b[0], a[1]) != shape:
            raise CheckpointError(
                f"{adapter.folder}: {module!r}: expected B [{shape[0]}, rank] and A [rank, {shape[-1]}], "
                f"found {list(b)} and {list(a)}"
            )
        update = _Update(names["A"], names["B"], scaling.of(module, a[0]), first_row, b[0])
        updates.setdefault(weight, []).append(update)
    return updates


def _find(
    module: str, found: Collection[str], source: TensorSource, config: ModelConfig
) -> tuple[str, int, tuple[int, ...]] | None:
    """Where the checkpoint has a module's weights: the tensor, its first row, the shape. None: nowhere."""
    for weight in (f"{module}.weight", f"model.{module}.weight"):
        if weight in found:
            return weight, 0, source.shape(weight)
    return find_expert(module, found, config) if config.is_moe else None
