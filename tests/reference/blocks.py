"""The weights that packed bytes stand for, in NumPy: what the core's `dequantize` is compared with by ==; slow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge.errors import RequestError
from qwen3edge.formats.blocks import (
    COLUMN_UNIT,
    PANEL_ROWS,
    BlockFormat,
    Bytes,
    Floats,
    block_format,
    codes_of,
    panel_planes,
    read_planes,
)


def holds_columns(fmt: BlockFormat, columns: int) -> bool:
    """Whether a row of that many values can be held."""
    if fmt.kind == "vector":
        return columns > 0
    return (
        columns > 0 and columns % COLUMN_UNIT == 0 and (fmt.kind == "q8" or not fmt.group or columns % fmt.group == 0)
    )


def packed_nbytes(name: str, rows: int, columns: int) -> int:
    """Bytes of a packed matrix. Raises RequestError for columns that the format cannot hold."""
    fmt = block_format(name)
    if rows < 1 or not holds_columns(fmt, columns) or (fmt.kind == "vector" and rows != 1):
        raise RequestError(f"{name}: expected a shape that it can hold, found {rows} x {columns}")
    if fmt.kind == "vector":
        return 4 * columns
    return -(-rows // PANEL_ROWS) * panel_planes(fmt, columns)[1]


def dequantize(name: str, packed: Bytes, rows: int, columns: int) -> Floats:
    """The weights that packed bytes stand for, float32 [rows, columns]."""
    expected = packed_nbytes(name, rows, columns)
    if packed.nbytes != expected:
        raise RequestError(f"packed: expected {expected} bytes, found {packed.nbytes}")
    fmt = block_format(name)
    if fmt.kind == "vector":
        return packed.view("<f4").astype(np.float32)[None]
    stored = read_planes(fmt, packed.reshape(-1, panel_planes(fmt, columns)[1]), columns)
    if "w" in stored:
        values = stored["w"] if fmt.kind == "f32" else (stored["w"].astype(np.uint32) << 16).view(np.float32)
        return np.ascontiguousarray(values.T[:rows])
    codes = codes_of(fmt, stored)  # [columns, lanes]
    d = _per_column(stored["d"], fmt.block, columns)
    values = d * codes.astype(np.float32)
    if "m" in stored:
        values = values + _per_column(stored["m"], fmt.block, columns)
    return np.ascontiguousarray(values.T[:rows])


def _per_column(scales: NDArray[Any], block: int, columns: int) -> Floats:
    """float16 [blocks, lanes] to float32 [columns, lanes]."""
    wide: Floats = scales.astype(np.float32).repeat(block, axis=0)[:columns]
    return wide
