"""How weights become packed bytes: one interface for every way to choose scales and codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.architectures.architecture import ModelTensor
from qwen3edge.convert.statistics import Statistics


class Quantizer(Protocol):
    """Called from several threads, for slices of whole panels in any order."""

    def pack(self, tensor: ModelTensor, block_format: str, weights: NDArray[Any], first_row: int) -> NDArray[np.uint8]:
        """weights: rows [first_row, ..) of the tensor, float32, float16, or uint16 holding bfloat16.

        Raises RequestError for weights that are not finite or too large for the format.
        """
        ...

    def notes(self) -> tuple[str, ...]:
        """What was packed otherwise than its name says, for people; when all is packed."""
        return ()


class LeastSquares(Quantizer):
    """The scales of least squared error, all columns alike. Needs no data."""

    def pack(self, tensor: ModelTensor, block_format: str, weights: NDArray[Any], first_row: int) -> NDArray[np.uint8]:
        """See Quantizer."""
        return _core.quantize(block_format, weights)


@dataclass(frozen=True)
class Weighted(Quantizer):
    """The same, where the error in a column counts as much as the square of what it is multiplied with."""

    statistics: Statistics

    def pack(self, tensor: ModelTensor, block_format: str, weights: NDArray[Any], first_row: int) -> NDArray[np.uint8]:
        """See Quantizer. Each expert has columns of its own."""
        importance = self.statistics.importance(tensor.name, tensor.columns)
        if importance is None:
            return _core.quantize(block_format, weights)
        parts = by_expert(weights, first_row, tensor.rows // len(importance))
        return np.concatenate(
            [_core.quantize(block_format, part, importance=importance[expert]) for expert, _, part in parts]
        )


def by_expert(weights: NDArray[Any], first_row: int, per_expert: int) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Rows [first_row, ..) of a tensor cut where an expert ends: which it is, the part's first row, the part."""
    row, stop = first_row, first_row + len(weights)
    while row < stop:
        expert = row // per_expert
        end = min(stop, (expert + 1) * per_expert)
        yield expert, row, weights[row - first_row : end - first_row]
        row = end
