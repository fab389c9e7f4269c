"""The experts of a checkpoint, in whichever of its layouts, as the two matrices a layer that a `.q3e` file has."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qwen3edge.config import ModelConfig
from qwen3edge.convert.names import is_bare, model_tensors
from qwen3edge.convert.source import PackedSource, TensorSource
from qwen3edge.errors import CheckpointError
from qwen3edge.formats.blocks import PANEL_ROWS, as_float32

_PROJECTIONS = ("gate", "up", "down")
_PREFIX = "model."
_MODULE = re.compile(
    r"(?P<experts>(?:model\.)?layers\.(?P<layer>[0-9]{1,4})\.mlp\.experts)\.(?P<expert>[0-9]{1,6})\."
    r"(?P<projection>gate|up|down)_proj\Z"
)


@dataclass(frozen=True)
class _Part:
    """One projection of one expert: rows of a tensor of the checkpoint."""

    name: str
    shape: tuple[int, ...]  # of the whole tensor
    first_row: int


_Reader: TypeAlias = Callable[[str, int, int], NDArray[Any]]  # of a source: name, start, stop
_Layout: TypeAlias = Callable[[str, int], _Part]  # of a layer: projection, expert -> where it lies


class StackedExperts:
    """A PackedSource: another source whose experts are shown as `...mlp.experts.gate_up` and `...mlp.experts.down`.

    Inside an expert of `gate_up`, panels of 16 rows alternate: gate, up, gate, up (docs/format.md). Layouts that are
    understood: Hugging Face's (a matrix an expert and projection); gates and ups of all experts in one tensor, as
    transformers has them in memory (`experts.gate_up_proj`) and GGUF may (`blk.N.ffn_gate_up_exps.weight`); and one
    a projection, as GGUF (`blk.N.ffn_gate_exps.weight`) and MLX (`switch_mlp.gate_proj.weight`) have it.
    """

    def __init__(self, source: TensorSource, config: ModelConfig):
        """Raises CheckpointError for experts that are absent or of another shape."""
        self._source = source
        self._config = config
        found = set(source.names())
        bare = is_bare(found)
        self._shapes: dict[str, tuple[int, int]] = {}
        self._layouts: dict[str, _Layout] = {}
        for tensor in model_tensors(config):
            if tensor.holds_experts:
                name = tensor.source.removeprefix(_PREFIX) if bare else tensor.source
                self._shapes[name] = (tensor.rows, tensor.columns)
                self._layouts[name] = _find_layout(name.rpartition(".")[0], found, config)
        used: dict[str, tuple[int, ...]] = {}
        for layout in self._layouts.values():
            for projection in _PROJECTIONS:
                for expert in range(config.experts):
                    part = layout(projection, expert)
                    used[part.name] = part.shape
        for name, wanted in used.items():
            if name not in found:
                raise CheckpointError(f"expected the tensor {name!r} in the checkpoint, found none of that name")
            if source.shape(name) != wanted:
                raise CheckpointError(
                    f"tensor {name!r}: expected the shape {list(wanted)} by config.json, "
                    f"found {list(source.shape(name))}"
                )
        self._names = [name for name in source.names() if name not in used]

    def names(self) -> list[str]:
        """The other tensors, then the stacked ones."""
        return [*self._names, *self._shapes]

    def shape(self, name: str) -> tuple[int, ...]:
        """[rows, columns], or [elements]."""
        return self._shapes[name] if name in self._shapes else self._source.shape(name)

    def read_rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop), of as many experts as they touch."""
        if name not in self._shapes:
            return self._source.read_rows(name, start, stop)
        return self._read(name, start, stop, 1, self._source.read_rows)

    def parts(self, name: str) -> tuple[str, ...]:
        """The source's tensors that a stacked one is made of."""
        experts, layout = range(self._config.experts), self._layouts[name]
        return tuple(dict.fromkeys(layout(part, n).name for part in stacked_projections(name) for n in experts))

    def packed_format(self, name: str) -> str | None:
        """The block format of all parts, if they share one."""
        if not isinstance(self._source, PackedSource):
            return None
        if name not in self._shapes:
            return self._source.packed_format(name)
        formats = {self._source.packed_format(part) for part in self.parts(name)}
        return formats.pop() if len(formats) == 1 else None

    def read_packed(self, name: str, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows [start, stop) as packed panels."""
        source = self._source
        assert isinstance(source, PackedSource), "packed_format offers none"
        if name not in self._shapes:
            return source.read_packed(name, start, stop)

        def read_panels(part: str, first: int, last: int) -> NDArray[Any]:
            return source.read_packed(part, first * PANEL_ROWS, last * PANEL_ROWS).reshape(last - first, -1)

        return self._read(name, start // PANEL_ROWS, stop // PANEL_ROWS, PANEL_ROWS, read_panels).reshape(-1)

    def _read(self, name: str, start: int, stop: int, unit: int, read: _Reader) -> NDArray[Any]:
        """Units [start, stop) of so many rows each, out of the parts' units that `read` gives."""
        units = self._shapes[name][0] // self._config.experts // unit
        projections, panel = stacked_projections(name), PANEL_ROWS // unit
        turn = len(projections) * panel  # units after which it is the first projection's turn again
        pieces = []
        for expert in range(start // units, -(-stop // units)):
            low, high = max(start - expert * units, 0), min(stop - expert * units, units)
            first, last = low // turn, -(-high // turn)
            parts = []
            for part in (self._layouts[name](projection, expert) for projection in projections):
                at = part.first_row // unit + first * panel
                parts.append(read(part.name, at, at + (last - first) * panel))
            panels = np.stack([part.reshape(last - first, panel, -1) for part in alike(parts)], axis=1)
            pieces.append(panels.reshape(-1, panels.shape[-1])[low - first * turn : high - first * turn])
        return pieces[0] if len(pieces) == 1 else np.concatenate(alike(pieces))


def checkpoint_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by its name in Hugging Face's checkpoints, in the order of the layers."""
    shapes: dict[str, tuple[int, ...]] = {}
    for tensor in model_tensors(config):
        if not tensor.holds_experts:
            shapes[tensor.source] = tensor.source_shape
            continue
        layout = _apart(tensor.source.rpartition(".")[0], config)
        projections = stacked_projections(tensor.source)
        parts = [layout(projection, expert) for expert in range(config.experts) for projection in projections]
        shapes.update({part.name: part.shape for part in parts})
    return shapes


def find_expert(module: str, found: frozenset[str], config: ModelConfig) -> tuple[str, int, tuple[int, int]] | None:
    """Where one projection of one expert lies, by its module's name in Hugging Face's model: the checkpoint's tensor,
    its first row there and its shape. None for a module that is no expert's, and for one that the model lacks."""
    match = _MODULE.match(module)
    if match is None or int(match["expert"]) >= config.experts or int(match["layer"]) >= config.layers:
        return None
    projection = match["projection"]
    name, first_row = expert_rows(match["experts"], projection, int(match["expert"]), found, config)
    if name not in found:
        return None
    return name, first_row, expert_shape(projection, config)


def expert_rows(
    experts: str, projection: str, expert: int, found: frozenset[str], config: ModelConfig
) -> tuple[str, int]:
    """The checkpoint's tensor that has a projection of an expert, if any does, and its first row there.

    experts: as `model.layers.0.mlp.experts`. projection: gate, up or down.
    """
    part = _find_layout(experts, found, config)(projection, expert)
    return part.name, part.first_row


def stacked_projections(name: str) -> tuple[str, ...]:
    """Which ones a stacked tensor has, whose panels alternate."""
    return ("gate", "up") if name.endswith("gate_up") else ("down",)


def expert_shape(projection: str, config: ModelConfig) -> tuple[int, int]:
    """[rows, columns] of gate, up or down of one expert."""
    hidden, ffn = config.hidden_size, config.expert_ffn_size
    return (hidden, ffn) if projection == "down" else (ffn, hidden)


def _apart(experts: str, config: ModelConfig) -> _Layout:
    def layout(projection: str, expert: int) -> _Part:
        return _Part(f"{experts}.{expert}.{projection}_proj.weight", expert_shape(projection, config), 0)

    return layout


def _find_layout(experts: str, found: Collection[str], config: ModelConfig) -> _Layout:
    """The layout of one layer. experts: as `model.layers.0.mlp.experts`."""
    gguf = f"blk.{experts.split('.')[-3]}.ffn_{{}}_exps.weight"
    mlx = f"{experts.removesuffix('experts')}switch_mlp.{{}}_proj.weight"

    def stacked(pattern: str, projection: str, expert: int) -> _Part:
        rows, columns = expert_shape(projection, config)
        return _Part(pattern.format(projection), (config.experts, rows, columns), expert * rows)

    def fused(pattern: str, projection: str, expert: int) -> _Part:
        if projection == "down":
            return stacked(pattern, projection, expert)
        rows, columns = expert_shape(projection, config)
        first_row = (2 * expert + (projection == "up")) * rows
        return _Part(pattern.format("gate_up"), (config.experts, 2 * rows, columns), first_row)

    for pattern in (f"{experts}.{{}}_proj", gguf):
        if pattern.format("gate_up") in found:
            return partial(fused, pattern)
    for pattern in (gguf, mlx):
        if pattern.format("gate") in found:
            return partial(stacked, pattern)
    return _apart(experts, config)


def alike(pieces: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Of one type: what holds bfloat16 looks like integers to NumPy."""
    if len({piece.dtype for piece in pieces}) == 1:
        return pieces
    return [as_float32(piece) for piece in pieces]
