"""Packs a tensor slice by slice on all cores, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge.architectures.architecture import ModelTensor
from qwen3edge.convert.ordered import in_order
from qwen3edge.convert.quantizer import Quantizer
from qwen3edge.convert.recipe import VECTOR
from qwen3edge.convert.source import PackedSource, TensorSource
from qwen3edge.errors import CheckpointError, RequestError
from qwen3edge.formats.blocks import PANEL_ROWS, as_float32
from qwen3edge.formats.key_fold import KeyFold

SLICE_BYTES = 2 << 20
"""Of weights in the checkpoint that one thread takes at a time: they stay in its second-level cache."""


@dataclass(frozen=True)
class Job:
    """A tensor to pack."""

    source: TensorSource
    name: str  # of the tensor in the source
    tensor: ModelTensor
    block_format: str
    quantizer: Quantizer
    fold: KeyFold  # what is stored between queries and keys; nothing yet while it is chosen


def packed_slices(job: Job, pool: ThreadPoolExecutor, ahead: int) -> Iterator[NDArray[np.uint8]]:
    """The packed bytes of a tensor in order, each piece some panels of rows; `ahead` pieces are in work at a time.

    Raises CheckpointError for weights that are not finite or too large for the format.
    """
    tensor = job.tensor
    if job.block_format == VECTOR:
        yield _vector(job)
        return
    rows = slice_rows(tensor)
    starts = range(0, tensor.rows, rows)
    yield from in_order(pool, ahead, (partial(_pack, job, start, min(start + rows, tensor.rows)) for start in starts))


def slice_rows(tensor: ModelTensor) -> int:
    """Rows of a matrix that one thread takes at a time, whole panels."""
    return max(1, SLICE_BYTES // (2 * tensor.columns * PANEL_ROWS)) * PANEL_ROWS


def _pack(job: Job, start: int, stop: int) -> NDArray[np.uint8]:
    packed = _unfolded(job, start, stop)
    return job.fold.apply(job.tensor.name, job.block_format, packed, job.tensor.columns, start)


def _unfolded(job: Job, start: int, stop: int) -> NDArray[np.uint8]:
    if isinstance(job.source, PackedSource) and job.source.packed_format(job.name) == job.block_format:
        return job.source.read_packed(job.name, start, stop)
    weights = job.source.read_rows(job.name, start, stop)
    try:
        return job.quantizer.pack(job.tensor, job.block_format, weights, start)
    except RequestError:
        row, column, value = _worst(weights)
        raise CheckpointError(
            f"tensor {job.name!r}: expected finite weights that {job.block_format} can hold, "
            f"found {value} in row {start + row}, column {column}"
        ) from None


def _vector(job: Job) -> NDArray[np.uint8]:
    wide = as_float32(job.source.read_rows(job.name, 0, job.tensor.columns))
    bad = np.flatnonzero(~np.isfinite(wide))
    if bad.size:
        raise CheckpointError(f"tensor {job.name!r}: expected finite values, found {wide[bad[0]]} at {bad[0]}")
    packed = np.ascontiguousarray(wide, "<f4").view(np.uint8)
    return job.fold.apply(job.tensor.name, VECTOR, packed, job.tensor.columns)


def _worst(weights: NDArray[Any]) -> tuple[int, int, float]:
    """Row, column and value of the first weight that is not finite, or of the largest."""
    wide = as_float32(weights)
    magnitude = np.where(np.isfinite(wide), np.abs(wide), np.inf)
    row, column = np.unravel_index(int(np.argmax(magnitude)), wide.shape)
    return int(row), int(column), float(wide[row, column])
