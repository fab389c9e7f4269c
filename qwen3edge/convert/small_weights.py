"""Matrices whose weights are so small that float16 scales lose them: found while they are packed, then kept in bf16."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.architectures.architecture import ModelTensor
from qwen3edge.convert.quantizer import Quantizer, by_expert
from qwen3edge.formats.blocks import as_float32

KEPT = "bf16"
LOSS = 1.25
"""Times the squared error of the same weights where scales have all their bits: more is a loss."""
_SAFE = 127 * 2.0**-18
"""A scale of 2^-18 has an error of 2^-7 at most, which 8 bits a weight hardly show; larger weights need no look."""
_UNSCALED = ("vector", "f32", KEPT)


class SmallWeights:
    """A Quantizer that packs with another one and looks at what it packs."""

    def __init__(self, quantizer: Quantizer, experts: int) -> None:
        """experts: of a layer, 0 for a dense model."""
        self._quantizer = quantizer
        self._experts = experts
        self._lost: dict[tuple[str, int, int], int] = {}  # rows, by tensor, expert and the first of them
        self._rows: dict[str, int] = {}  # of a tensor, or of one of its experts
        self._largest: dict[str, float] = {}
        self._lock = threading.Lock()

    def pack(self, tensor: ModelTensor, block_format: str, weights: NDArray[Any], first_row: int) -> NDArray[np.uint8]:
        """See Quantizer."""
        packed = self._quantizer.pack(tensor, block_format, weights, first_row)
        if block_format in _UNSCALED or (largest_magnitude(weights) >= _SAFE and not tensor.holds_experts):
            return packed
        rows = tensor.rows // (self._experts if tensor.holds_experts else 1)
        for expert, first, part in by_expert(weights, first_row, rows):
            largest = largest_magnitude(part)
            if 0 < largest < _SAFE and loses(block_format, part):
                with self._lock:
                    self._rows[tensor.name] = rows
                    self._lost[tensor.name, expert, first] = len(part)  # once, though some are packed twice
                    self._largest[tensor.name] = max(self._largest.get(tensor.name, 0.0), largest)
        return packed

    def notes(self) -> tuple[str, ...]:
        """The other one's."""
        return self._quantizer.notes()

    def found(self) -> dict[str, float]:
        """The largest weight of each matrix that loses: more than half of its rows, or of one of its experts', do.

        A few rows that are nearly zero among others add nothing that could be lost.
        """
        with self._lock:
            sums: Counter[tuple[str, int]] = Counter()
            for (name, expert, _), rows in self._lost.items():
                sums[name, expert] += rows
            names = dict.fromkeys(name for (name, _), rows in sums.items() if 2 * rows > self._rows[name])
            return {name: self._largest[name] for name in names}


def loses(block_format: str, weights: NDArray[Any]) -> bool:
    """Whether weights [rows, columns] come back with more than LOSS times the squared error that they have when all are
    multiplied by a power of two.
    """
    wide = as_float32(weights)
    lifted = np.ldexp(wide, -int(np.frexp(np.abs(wide).max())[1]))  # exact: to magnitudes below 1
    return _relative_error(block_format, wide) > LOSS * _relative_error(block_format, lifted)


def largest_magnitude(weights: NDArray[Any]) -> float:
    """Of float32, float16, or uint16 holding bfloat16."""
    if weights.dtype == np.uint16:
        return float(as_float32((weights & np.uint16(0x7FFF)).max(keepdims=True)).flat[0])
    return float(np.abs(weights).max())


def notes(found: Mapping[str, float], formats: Mapping[str, str]) -> tuple[str, ...]:
    """One line for each block format that had to give way. formats: by name, what it would have been."""
    by_format: dict[str, list[str]] = {}
    for name in found:
        by_format.setdefault(formats[name], []).append(name)
    return tuple(
        f"{len(names)} matrices are stored as {KEPT}, such as {names[0]}: their weights, "
        f"{max(found[name] for name in names):.1e} at most, are too small for the float16 scales of {block_format}"
        for block_format, names in by_format.items()
    )


def _relative_error(block_format: str, wide: NDArray[np.float32]) -> float:
    back = _core.dequantize(block_format, _core.quantize(block_format, wide), *wide.shape)
    exact = wide.astype(np.float64)
    return float(np.square(back - exact).sum() / np.square(exact).sum())
