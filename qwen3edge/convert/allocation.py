"""Spends bits where they lower the divergence most: a recipe for a mean number of bits a weight.

Quantizing a tensor raises the KL divergence from the unquantized model by about its sensitivity (measured in one
format) times how much larger or smaller the squared error is in another, and the tensors' shares add up (to second
order, the errors being independent). So each further bit goes to the tensor where it lowers the sum most (Shoham &
Gersho 1988, "Efficient bit allocation for an arbitrary set of quantizers").
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.architectures.architecture import ModelTensor
from qwen3edge.convert.quantizer import Quantizer, Weighted
from qwen3edge.convert.recipe import Recipe, Rule, holds
from qwen3edge.convert.source import TensorSource
from qwen3edge.convert.statistics import SENSITIVITY_FORMAT, Statistics
from qwen3edge.errors import RequestError
from qwen3edge.formats.blocks import BLOCK_FORMATS, COLUMN_UNIT, PANEL_ROWS, SUPER_BLOCK, as_float32

FORMATS = tuple(f.name for f in BLOCK_FORMATS.values() if f.block == SUPER_BLOCK or f.group == COLUMN_UNIT)
"""Those with one float scale in 256, and of the others, for rows of less than that, the finest of each kind."""

SAMPLED_PANELS = 16
"""Of each tensor, spread over its rows, whose error stands for the tensor's."""


@dataclass(frozen=True)
class Choice:
    """One format for one tensor."""

    format: str
    nbytes: int
    kl: float  # nats a token that it is thought to cost


def allocate(
    choices: Mapping[str, Sequence[Choice]], weights: Mapping[str, int], target_bits: float, name: str
) -> Recipe:
    """choices: by tensor. weights: how many each has. The file's matrices take at most target_bits a weight on average.

    Raises RequestError for a target below the smallest formats.
    """
    hulls = {tensor: _hull(found) for tensor, found in choices.items()}
    budget = int(target_bits * sum(weights.values()) / 8)
    spent = sum(hull[0].nbytes for hull in hulls.values())
    if spent > budget:
        least = 8 * spent / sum(weights.values())
        raise RequestError(f"--target-bits: expected at least {least:.3f} for this model, found {target_bits}")
    level = dict.fromkeys(hulls, 0)
    steps = [_step(tensor, hull, 0) for tensor, hull in hulls.items() if len(hull) > 1]
    heapq.heapify(steps)
    while steps:
        _, tensor = heapq.heappop(steps)
        hull, at = hulls[tensor], level[tensor]
        cost = hull[at + 1].nbytes - hull[at].nbytes
        if spent + cost > budget:
            continue  # a smaller tensor may still fit
        spent += cost
        level[tensor] = at + 1
        if at + 2 < len(hull):
            heapq.heappush(steps, _step(tensor, hull, at + 1))
    return Recipe(name, tuple(Rule(tensor, hulls[tensor][at].format) for tensor, at in level.items()))


def find_choices(
    source: TensorSource,
    names: Mapping[str, str],
    tensors: Sequence[ModelTensor],
    statistics: Statistics,
    quantizer: Quantizer,
) -> dict[str, list[Choice]]:
    """What each matrix costs in each of FORMATS that hold it. names: in the source, by the name in the file.

    Raises RequestError for statistics without sensitivities.
    """
    sensitivities = statistics.sensitivities()
    found = {}
    for tensor in tensors:
        if tensor.is_vector or tensor.required_format is not None:
            continue
        if tensor.name not in sensitivities:
            raise RequestError(
                f"--target-bits: expected how sensitive {tensor.name} is in {statistics.path} "
                "(qwen3edge calibrate --sensitivity), found nothing"
            )
        panels = -(-tensor.rows // PANEL_ROWS)
        chosen = np.unique(np.linspace(0, panels - 1, min(panels, SAMPLED_PANELS)).astype(int))
        errors = dict.fromkeys(FORMATS, 0.0)
        usable = [f for f in FORMATS if holds(f, tensor.columns)]
        for panel in chosen:
            start = int(panel) * PANEL_ROWS
            rows = source.read_rows(names[tensor.name], start, min(start + PANEL_ROWS, tensor.rows))
            for block_format in usable:
                errors[block_format] += _error(tensor, block_format, rows, start, statistics, quantizer)
        base, sensitivity = errors[SENSITIVITY_FORMAT] or 1.0, sensitivities[tensor.name]
        found[tensor.name] = [
            Choice(f, _core.packed_nbytes(f, tensor.rows, tensor.columns), sensitivity * errors[f] / base)
            for f in usable
        ]
    return found


def _error(
    tensor: ModelTensor,
    block_format: str,
    rows: NDArray[Any],
    start: int,
    statistics: Statistics,
    quantizer: Quantizer,
) -> float:
    """Squared error of the rows, its columns weighted if the quantizer weighs them."""
    wide = as_float32(rows)
    stored = _core.dequantize(block_format, quantizer.pack(tensor, block_format, rows, start), *wide.shape)
    squares = np.square(stored - wide, dtype=np.float64)
    importance = statistics.importance(tensor.name, tensor.columns) if isinstance(quantizer, Weighted) else None
    if importance is None:
        return float(squares.sum())
    return float((squares @ importance[start * len(importance) // tensor.rows]).sum())


def _hull(choices: Sequence[Choice]) -> list[Choice]:
    """Those that no mixture of two others beats, from the smallest on."""
    hull: list[Choice] = []
    for choice in sorted(choices, key=lambda c: (c.nbytes, c.kl)):
        if hull and choice.kl >= hull[-1].kl:
            continue
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-2], choice):
            hull.pop()
        hull.append(choice)
    return hull


def _slope(a: Choice, b: Choice) -> float:
    """KL that each byte saves."""
    return (a.kl - b.kl) / (b.nbytes - a.nbytes)


def _step(tensor: str, hull: Sequence[Choice], at: int) -> tuple[float, str]:
    return -_slope(hull[at], hull[at + 1]), tensor
