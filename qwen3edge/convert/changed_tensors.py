"""Tensors that a `.q3e` file has otherwise than a Hugging Face checkpoint (`Change`), made as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge.architectures.architecture import MINUS_EXP, ONE_PLUS, Change, Heads, ModelTensor
from qwen3edge.config import ModelConfig
from qwen3edge.convert.names import is_bare, model_tensors
from qwen3edge.convert.source import PackedSource, TensorSource
from qwen3edge.errors import CheckpointError
from qwen3edge.formats.blocks import as_float32

_PREFIX = "model."


class ChangedTensors:
    """A PackedSource: another source, of a checkpoint, whose tensors are shown as a `.q3e` file has them."""

    def __init__(self, source: TensorSource, config: ModelConfig):
        """Raises CheckpointError for a tensor of another shape than the config's."""
        self._source = source
        found = source.names()
        bare = is_bare(found)
        self._changed: dict[str, tuple[ModelTensor, Change]] = {}
        for tensor in model_tensors(config):
            name = tensor.source.removeprefix(_PREFIX) if bare else tensor.source
            if tensor.change is None or name not in found:
                continue
            if source.shape(name) != tensor.source_shape:
                raise CheckpointError(
                    f"tensor {name!r}: expected the shape {list(tensor.source_shape)} by its config, "
                    f"found {list(source.shape(name))}"
                )
            self._changed[name] = (tensor, tensor.change)

    def names(self) -> list[str]:
        """All tensors."""
        return self._source.names()

    def shape(self, name: str) -> tuple[int, ...]:
        """As the file has it."""
        return self._changed[name][0].shape if name in self._changed else self._source.shape(name)

    def read_rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) as the file has them."""
        if name not in self._changed:
            return self._source.read_rows(name, start, stop)
        tensor, change = self._changed[name]
        if tensor.is_vector:
            rows = 1 if len(tensor.source_shape) == 2 else tensor.source_shape[0]
            return changed_vector(as_float32(self._source.read_rows(name, 0, rows)), change)[start:stop]
        wanted = order_of(change.rows, tensor.rows)[start:stop]
        runs = np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1)
        pieces = [self._source.read_rows(name, int(run[0]), int(run[-1]) + 1) for run in runs]
        weights: NDArray[Any] = np.concatenate(pieces)
        return weights if change.columns is None else weights[:, order_of(change.columns, tensor.columns)]

    def packed_format(self, name: str) -> str | None:
        """None for a tensor that differs."""
        if name in self._changed or not isinstance(self._source, PackedSource):
            return None
        return self._source.packed_format(name)

    def read_packed(self, name: str, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows [start, stop) as packed panels."""
        assert isinstance(self._source, PackedSource), "packed_format offers none"
        return self._source.read_packed(name, start, stop)


def changed_vector(values: NDArray[np.float32], change: Change) -> NDArray[np.float32]:
    """What a file has, [elements], of what a checkpoint has: [elements], or [rows, columns] of a matrix."""
    values = values[order_of(change.rows, len(values))]
    if change.transposed:
        values = values.T
    return _VALUES[change.values](values.reshape(-1))


def order_of(heads: Heads | None, count: int) -> NDArray[np.int64]:
    """Which of a checkpoint's rows, or columns, are a file's, in its order: [count]."""
    all_of = np.arange(count)
    if heads is None:
        return all_of
    moved = all_of[heads.first :].reshape(heads.groups, heads.each, heads.size).swapaxes(0, 1)
    return np.concatenate([all_of[: heads.first], moved.reshape(-1)])


def restored_matrix(change: Change, values: NDArray[Any], unit: int = 1) -> NDArray[Any]:
    """What a checkpoint has of what a file has, [rows, columns / unit]; unit: columns of a value, a part of a head."""
    rows = np.argsort(order_of(change.rows, len(values)))
    columns = np.argsort(order_of(change.columns, unit * values.shape[1]))[::unit] // unit
    return np.ascontiguousarray(values[np.ix_(rows, columns)])


def restored(tensor: ModelTensor, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a checkpoint has, of the source's shape, of what a file has, [rows, columns] or [elements]."""
    change = tensor.change or Change()
    if not tensor.is_vector:
        return restored_matrix(change, values)
    values = _BACK[change.values](values.reshape(-1))
    if change.transposed:
        values = values.reshape(tensor.source_shape[-1], -1).T
    back = np.empty_like(values)
    back[order_of(change.rows, len(values))] = values
    return back.reshape(tensor.source_shape)


def _one_plus(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """As the reference model adds them: in float32."""
    changed: NDArray[np.float32] = np.float32(1) + values
    return changed


def _minus_exp(values: NDArray[np.float32]) -> NDArray[np.float32]:
    changed: NDArray[np.float32] = -np.exp(values.astype(np.float64)).astype(np.float32)
    return changed


def _minus_one(values: NDArray[np.float32]) -> NDArray[np.float32]:
    back: NDArray[np.float32] = values - np.float32(1)
    return back


def _log_minus(values: NDArray[np.float32]) -> NDArray[np.float32]:
    back: NDArray[np.float32] = np.log(-values.astype(np.float64)).astype(np.float32)
    return back


def _same(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values


_VALUES = {"": _same, ONE_PLUS: _one_plus, MINUS_EXP: _minus_exp}
_BACK = {"": _same, ONE_PLUS: _minus_one, MINUS_EXP: _log_minus}


def require_unchanged(tensors: Sequence[ModelTensor], what: str) -> None:
    """Raises CheckpointError for a model that has tensors otherwise than its checkpoints. what: cannot be done then."""
    changed = [tensor.name for tensor in tensors if tensor.change is not None and not tensor.is_vector]
    if changed:
        raise CheckpointError(
            f"{what}: expected matrices in the order of the checkpoint, found others such as {changed[0]!r}"
        )
