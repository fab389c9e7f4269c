"""Whether two tensors of a source are the same."""

from __future__ import annotations

import numpy as np

from qwen3edge.convert.experts import alike
from qwen3edge.convert.source import TensorSource

_SLICE_ROWS = 4096


def same_weights(source: TensorSource, one: str, other: str) -> bool:
    """Matrices of the same shape and values, whatever their types."""
    shape = source.shape(one)
    if shape != source.shape(other):
        return False
    for start in range(0, shape[0], _SLICE_ROWS):
        stop = min(start + _SLICE_ROWS, shape[0])
        a, b = alike([source.read_rows(name, start, stop) for name in (one, other)])
        if not np.array_equal(a, b):
            return False
    return True
