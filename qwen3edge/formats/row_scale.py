"""Rows of a packed matrix times powers of two: only their scales change, so no weight loses a bit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qwen3edge.formats.blocks import (
    PANEL_ROWS,
    BlockFormat,
    Bytes,
    Floats,
    Plane,
    as_float32,
    block_format,
    panel_planes,
    read_lanes,
    write_lanes,
)

Exponents = NDArray[np.int32]

_NORMAL = {"<f2": (-14, 15), "<u2": (-126, 127), "<f4": (-126, 127)}  # of float16, bfloat16, float32


def scale_rows(name: str, packed: Bytes, columns: int, exponents: Exponents) -> Bytes:
    """Packed bytes of whole panels with row r multiplied by 2^exponents[r]; of a vector, element r.

    exponents: of as many rows as the matrix has; the last panel's filling has none. They must lie in `exponent_range`.
    """
    fmt = block_format(name)
    if fmt.kind == "vector":
        scaled: Floats = np.ldexp(packed.view("<f4"), exponents)
        return scaled.astype("<f4").view(np.uint8)
    planes, size = panel_planes(fmt, columns)
    panels: Bytes = packed.reshape(-1, size).copy()
    lanes = np.zeros(len(panels) * PANEL_ROWS, np.int32)
    lanes[: exponents.size] = exponents
    for plane in planes:
        if _is_float(fmt, plane):
            scaled = np.ldexp(as_float32(read_lanes(panels, plane)), lanes)
            # What is stored fits exactly: of bfloat16 the upper half.
            write_lanes(panels, plane, scaled.view(np.uint32) >> 16 if plane.dtype == np.uint16 else scaled)
    return panels.reshape(-1)


def exponent_range(name: str, packed: Bytes, rows: int, columns: int) -> tuple[Exponents, Exponents]:
    """The least (at most 0) and the largest (at least 0) exponents with which each row's scales stay normal numbers.

    packed: whole panels with `rows` rows, or a vector: rows are then its elements, `columns` of them.
    """
    fmt = block_format(name)
    if fmt.kind == "vector":
        return _range(packed.view("<f4").reshape(columns, 1), "<f4")
    planes, size = panel_planes(fmt, columns)
    panels = packed.reshape(-1, size)
    low, high = np.full(rows, -1024, np.int32), np.full(rows, 1024, np.int32)
    for plane in planes:
        if _is_float(fmt, plane):
            least, most = _range(as_float32(read_lanes(panels, plane)).T[:rows], plane.dtype.str)
            low, high = np.maximum(low, least), np.minimum(high, most)
    return low, high


def _is_float(fmt: BlockFormat, plane: Plane) -> bool:
    return plane.name in ("d", "m", "w") and fmt.kind != "vector"


def _range(values: Floats, dtype: str) -> tuple[Exponents, Exponents]:
    """values: [rows, n]. What is a subnormal number already may not become smaller; zeros allow anything."""
    least, most = _NORMAL[dtype]
    _, exponent = np.frexp(values)
    exponent = exponent.astype(np.int32) - 1  # floor(log2)
    zero = values == 0
    low = least - np.where(zero, 1024, exponent).min(axis=1)
    high = most - np.where(zero, -1024, exponent).max(axis=1)
    return np.minimum(low, 0).astype(np.int32), np.maximum(high, 0).astype(np.int32)
