"""Our blocks as compressed-tensors' `pack-quantized` integers: int32 words, scales, and zero points where asymmetric.

A weight is scale * (q - zero), q an unsigned integer of 4 or 8 bits; a word holds 8 or 4 of them, the first lowest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.errors import RequestError
from qwen3edge.formats.blocks import PANEL_ROWS, Floats, block_format, codes_of, read_planes

KINDS = ("int4", "int8", "dense")
_GROUPS = (128, 64, 32)  # that servers have kernels for


@dataclass(frozen=True)
class Scheme:
    """How a matrix is stored."""

    bits: int
    symmetric: bool
    group: int
    exact: bool  # the same float32, with scales in float16

    @property
    def per_word(self) -> int:
        """Values of an int32."""
        return 32 // self.bits


@dataclass(frozen=True)
class PackedRows:
    """Some rows of a matrix."""

    words: NDArray[np.int32]  # [rows, columns / per_word]
    scale: NDArray[np.float16]  # [rows, columns / group]
    zero: NDArray[np.uint8] | None  # [rows, columns / group], of asymmetric schemes


def default_kind(name: str) -> str:
    """int4 where it is exact, int8 for all else that is quantized."""
    fmt = block_format(name)
    return {"q4g": "int4", "f32": "dense", "bf16": "dense"}.get(fmt.kind, "int8")


def scheme_of(name: str, kind: str, columns: int, head: int = 0) -> Scheme | None:
    """None: dense. head: columns, a multiple of 32, that a group must divide, as they will be moved together; 0: none.
    Raises RequestError for an unknown kind.
    """
    if kind not in KINDS:
        raise RequestError(f"type: expected one of {', '.join(KINDS)}, found {kind!r}")
    fmt = block_format(name)
    if kind == "dense":
        return None
    if kind == "int4":
        group = fmt.group if fmt.group in _GROUPS and head % fmt.group == 0 else 32
        return Scheme(4, fmt.kind == "q4g", group, fmt.kind == "q4g")
    widest = fmt.block if fmt.is_scaled else 32
    group = next(group for group in _GROUPS if group <= widest and columns % group == head % group == 0)
    return Scheme(8, True, group, fmt.is_scaled)


def pack_rows(name: str, panels: NDArray[np.uint8], columns: int, scheme: Scheme) -> PackedRows:
    """Whole panels [panels, bytes] of a block format."""
    if not scheme.exact:
        weights = _core.dequantize(name, np.ascontiguousarray(panels).reshape(-1), len(panels) * PANEL_ROWS, columns)
        if not scheme.symmetric:
            return _fit_asymmetric(weights, scheme)
        name = "q8g32"
        panels = _core.quantize(name, weights).reshape(len(panels), -1)
    fmt = block_format(name)
    planes = read_planes(fmt, panels, columns)
    codes = np.ascontiguousarray(codes_of(fmt, planes).T) + (1 << scheme.bits - 1)
    scale = planes["d"].repeat(fmt.block // scheme.group, axis=0)[: columns // scheme.group].T
    return PackedRows(_words(codes, scheme), np.ascontiguousarray(scale, np.float16), None)


def pack_zeros(zero: NDArray[np.uint8], scheme: Scheme) -> NDArray[np.int32]:
    """Zero points [rows, groups] of a whole matrix as words down the rows: [rows / per_word, groups]."""
    padded = np.pad(zero, ((0, -len(zero) % scheme.per_word), (0, 0)))
    return np.ascontiguousarray(_words(padded.T.astype(np.int32), scheme).T)


def _words(codes: NDArray[Any], scheme: Scheme) -> NDArray[np.int32]:
    """Unsigned codes [rows, columns] -> [rows, columns / per_word]."""
    lanes = codes.astype(np.uint32).reshape(len(codes), -1, scheme.per_word)
    shifts = np.arange(0, 32, scheme.bits, dtype=np.uint32)
    words: NDArray[np.uint32] = np.bitwise_or.reduce(lanes << shifts, axis=-1)
    return words.view(np.int32)


_RANGE_SHARES = (1.08, 1.0, 0.92, 0.84)  # less than 1 leaves out the ends, more lets the zero point fit better


def _fit_asymmetric(weights: Floats, scheme: Scheme) -> PackedRows:
    """The scale and integer zero point of least squared error among some, for each group.

    One of them is the group's whole range, where no weight is off by more than half a step. So a group's rms error is
    at most half a step of its range; a single weight's can be more, where an end is left out for the others' sake.
    """
    w = weights.reshape(len(weights), -1, scheme.group)
    top = (1 << scheme.bits) - 1
    low, high = np.minimum(w.min(-1, keepdims=True), 0), np.maximum(w.max(-1, keepdims=True), 0)
    best = np.full(low.shape, np.inf, np.float32)
    scale, zero, codes = np.zeros_like(low), np.zeros_like(low), np.zeros_like(w)
    for share in _RANGE_SHARES:
        ranged = _in_float16((high - low) * np.float32(share / top))
        middle = np.round((top - (high + low) * _inverse(ranged)) / 2)
        for z in (np.clip(middle + shift, 0, top) for shift in (-1, 0, 1)):
            step = ranged
            for _ in range(2):
                q = np.clip(np.round(w * _inverse(step)) + z, 0, top)
                level = q - z
                error = ((w - step * level) ** 2).sum(-1, keepdims=True)
                better = error < best
                chosen = (error, best), (step, scale), (z, zero), (q, codes)
                best, scale, zero, codes = (np.where(better, new, old) for new, old in chosen)
                # The same codes with the scale that fits them best; the next round rounds anew with it.
                fitted = (w * level).sum(-1, keepdims=True) * _inverse((level**2).sum(-1, keepdims=True))
                step = _in_float16(fitted)
    words = _words(codes.reshape(weights.shape), scheme)
    return PackedRows(words, scale[..., 0].astype(np.float16), zero[..., 0].astype(np.uint8))


def _in_float16(values: Floats) -> Floats:
    return values.astype(np.float16).astype(np.float32)


def _inverse(values: Floats) -> Floats:
    """0 for 0."""
    return np.divide(1, values, out=np.zeros_like(values), where=values > 0)
