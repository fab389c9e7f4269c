"""How weights become packed bytes: one interface for every way to choose scales and codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.convert.names import ModelTensor
from qwen3edge.convert.statistics import Statistics


class Quantizer(Protocol):
    """Called from several threads, for slices of whole panels in any order."""

    def pack(self, tensor: ModelTensor, block_format: str, weights: NDArray[Any], first_row: int) -> NDArray[np.uint8]:
        """weights: rows [first_row, ..) of the tensor, float32, float16, or uint16 holding bfloat16.

        Raises RequestError for weights that are not finite or too large for the format.
        """
        ...


class LeastSquares:
    """The scales of least squared error, all columns alike. Needs no data."""

    def pack(self, tensor: ModelTensor, block_format: str, weights: NDArray[Any], first_row: int) -> NDArray[np.uint8]:
        """See Quantizer."""
        return _core.quantize(block_format, weights)


@dataclass(frozen=True)
class Weighted:
    """The same, where the error in a column counts as much as the square of what it is multiplied with."""

    statistics: Statistics

    def pack(self, tensor: ModelTensor, block_format: str, weights: NDArray[Any], first_row: int) -> NDArray[np.uint8]:
        """See Quantizer. Each expert has columns of its own."""
        importance = self.statistics.importance(tensor.name, tensor.columns)
        if importance is None:
            return _core.quantize(block_format, weights)
        per_expert = tensor.rows // len(importance)
        parts, row, stop = [], first_row, first_row + len(weights)
        while row < stop:
            expert = row // per_expert
            end = min(stop, (expert + 1) * per_expert)
            part = weights[row - first_row : end - first_row]
            parts.append(_core.quantize(block_format, part, importance=importance[expert]))
            row = end
        return np.concatenate(parts)
