"""GPTQ: rounds column after column, and lets the columns that follow make up for the error (Frantar et al. 2022).

Rows are independent, so slices of a tensor are packed in any order. Within a block of the format the scales are
searched on the weights as they have become by then, each column as important as its error is expensive; then its codes
are chosen one column after the other. Needs X^T X of the tensor's input, of each expert's where it has experts. What
has none, or one of so few tokens that it says little, is packed as by Weighted, and `notes` says so.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.architectures.architecture import ModelTensor
from qwen3edge.convert.quantizer import Weighted, by_expert
from qwen3edge.convert.statistics import LEAST_IMPORTANCE, MOST_IMPORTANCE, Statistics, input_name
from qwen3edge.errors import RequestError
from qwen3edge.formats.blocks import (
    BLOCK_FORMATS,
    PANEL_ROWS,
    BlockFormat,
    Floats,
    as_float32,
    assemble,
    levels_of,
    read_planes,
)

DAMPING = 0.01  # of the mean of the diagonal, added to it
LEAST_TOKENS = 0.25  # a column: with fewer, X^T X knows only some directions, and the others are left to chance
_FACTORS = 4  # that are kept: slices of neighbouring experts are in work on several threads
_SHOWN = 8  # names in a note
_LAZY = 32  # columns that are rounded before the rest of their block hears of it


class _Lack(Enum):
    """Why a matrix or an expert is not packed by GPTQ."""

    GRAM = "there is no X^T X"
    TOKENS = f"they saw fewer tokens than {LEAST_TOKENS:g} x their columns"


class Gptq:
    """A Quantizer."""

    def __init__(self, statistics: Statistics) -> None:
        """Raises RequestError for statistics without X^T X."""
        if not statistics.has_grams:
            raise RequestError(f"gptq: expected X^T X in {statistics.path} (qwen3edge calibrate --gram), found none")
        self._statistics = statistics
        self._otherwise = Weighted(statistics)
        self._lock = threading.Lock()
        self._factors = lru_cache(_FACTORS)(self._find_factor)
        self._without: dict[_Lack, set[str]] = {lack: set() for lack in _Lack}  # what was packed otherwise

    def pack(self, tensor: ModelTensor, block_format: str, weights: NDArray[Any], first_row: int) -> NDArray[np.uint8]:
        """See Quantizer."""
        fmt = BLOCK_FORMATS[block_format]
        if not fmt.block:
            return self._otherwise.pack(tensor, block_format, weights, first_row)
        counts = self._statistics.counts(tensor.name) if tensor.holds_experts else None
        experts = 1 if counts is None else len(counts)
        packed = []
        for expert, row, part in by_expert(weights, first_row, tensor.rows // experts):
            factor = self._factor_of(tensor, None if counts is None else expert)
            if isinstance(factor, _Lack):
                packed.append(self._otherwise.pack(tensor, block_format, part, row))
                continue
            _core.quantize(block_format, part)  # refuses what cannot be packed, before errors are spread
            packed.append(pack_with_factor(fmt, as_float32(part), factor))
        return np.concatenate(packed)

    def notes(self) -> tuple[str, ...]:
        """Which matrices and experts had too little to go by."""
        return tuple(
            f"gptq: {len(names)} packed by importance alone, as {lack.value}: {_listed(sorted(names))}"
            for lack, names in self._without.items()
            if names
        )

    def _factor_of(self, tensor: ModelTensor, expert: int | None) -> Floats | _Lack:
        """Of the tensor's input; tensors that share it come one after the other, and so do experts."""
        with self._lock:
            factor = self._factors(input_name(tensor.name), tensor.columns, expert)
            if isinstance(factor, _Lack):
                self._without[factor].add(tensor.name if expert is None else f"{tensor.name} expert {expert}")
            return factor

    def _find_factor(self, name: str, columns: int, expert: int | None) -> Floats | _Lack:
        counts = self._statistics.counts(name)
        if counts is not None and counts[expert or 0] < LEAST_TOKENS * columns:
            return _Lack.TOKENS
        gram = self._statistics.gram(name, columns, expert)
        return _Lack.GRAM if gram is None else inverse_factor(gram)


def _listed(items: Sequence[str]) -> str:
    shown = ", ".join(items[:_SHOWN])
    return shown if len(items) <= _SHOWN else f"{shown} and {len(items) - _SHOWN} more"


def inverse_factor(gram: NDArray[np.floating[Any]]) -> Floats:
    """The upper U with U^T U = (X^T X + damping)^-1, float32 [columns, columns]."""
    hessian = gram.astype(np.float64)
    diagonal = np.diagonal(hessian)
    mean = float(diagonal.mean()) or 1.0
    # A column that was always zero costs nothing, but must not make the matrix singular.
    hessian = hessian + np.diag(np.where(diagonal > 0, 0, mean) + DAMPING * mean)
    factor: Floats = np.linalg.cholesky(np.linalg.inv(hessian)).T.astype(np.float32)
    return factor


def pack_with_factor(fmt: BlockFormat, weights: Floats, factor: Floats) -> NDArray[np.uint8]:
    """weights [rows, columns]; factor: of `inverse_factor`. The packed bytes."""
    rows, columns = weights.shape
    w = np.zeros((-(-rows // PANEL_ROWS) * PANEL_ROWS, columns), np.float32)
    w[:rows] = weights
    diagonal = np.diagonal(factor)
    planes: dict[str, list[NDArray[Any]]] = {}
    for start in range(0, columns, fmt.block):
        stop = min(start + fmt.block, columns)
        cost = 1 / np.square(diagonal[start:stop], dtype=np.float64)
        importance = np.clip(cost / cost.mean(), LEAST_IMPORTANCE, MOST_IMPORTANCE).astype(np.float32)
        block = np.ascontiguousarray(w[:, start:stop])
        packed = _core.quantize(fmt.name, block, importance=importance)
        stored = read_planes(fmt, packed.reshape(len(w) // PANEL_ROWS, -1), stop - start)
        codes, errors = _round_block(block, fmt, stored, factor[start:stop, start:stop])
        stored[list(stored)[-1]] = codes
        for name, plane in stored.items():
            planes.setdefault(name, []).append(plane)
        w[:, stop:] -= errors @ factor[start:stop, stop:]
    return assemble(fmt, columns, {name: np.concatenate(parts) for name, parts in planes.items()})


def _round_block(
    w: Floats, fmt: BlockFormat, stored: dict[str, NDArray[Any]], factor: Floats
) -> tuple[NDArray[np.int32], Floats]:
    """w [lanes, columns] is changed; stored: the planes of this block. Codes to store, int32 [columns, lanes], and
    errors [lanes, columns] in units of the factor's diagonal, for the columns after the block.
    """
    lanes, columns = w.shape
    levels, d = levels_of(fmt, stored), stored["d"].astype(np.float32)
    step = d * levels.step.astype(np.float32)  # of each group: [groups, lanes]
    low = d * levels.low.astype(np.float32) + stored.get("m", np.float32(0))
    top = levels.top.astype(np.float32)
    codes = np.zeros((columns, lanes), np.int32)
    errors = np.zeros((lanes, columns), np.float32)
    inverse = np.where(step == 0, 0, 1 / np.where(step == 0, 1, step)).astype(np.float32)
    for begin in range(0, columns, _LAZY):
        end = min(begin + _LAZY, columns)
        for k in range(begin, end):
            g = k // fmt.group
            column = w[:, k]
            code = np.clip(np.rint((column - low[g]) * inverse[g]), 0, top[g])
            codes[k] = code.astype(np.int32)
            errors[:, k] = (column - (step[g] * code + low[g])) / factor[k, k]
            w[:, k + 1 : end] -= errors[:, k, None] * factor[k, k + 1 : end]
        w[:, end:] -= errors[:, begin:end] @ factor[begin:end, end:]
    return codes + levels.first, errors
