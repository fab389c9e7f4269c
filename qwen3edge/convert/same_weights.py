"""Whether two tensors of a source are the same."""

from __future__ import annotations

import numpy as np

from qwen3edge.convert.source import TensorSource
from qwen3edge.formats.blocks import as_float32

_SLICE_ROWS = 4096


def same_weights(source: TensorSource, one: str, other: str) -> bool:
    """Matrices of the same shape and values, whatever their types."""
    shape = source.shape(one)
    if shape != source.shape(other):
        return False
    for start in range(0, shape[0], _SLICE_ROWS):
        a, b = (source.read_rows(name, start, min(start + _SLICE_ROWS, shape[0])) for name in (one, other))
        if a.dtype != b.dtype:
            a, b = as_float32(a), as_float32(b)
        if not np.array_equal(a, b):
            return False
    return True
