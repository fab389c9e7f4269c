"""Integers under a scale for each group of columns, as other programs' quantizers store matrices, as our blocks.

A weight is scale * (q - zero), or scale * q + offset, with q an unsigned integer of 4 or 8 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge.errors import CheckpointError
from qwen3edge.formats.blocks import COLUMN_UNIT, SUPER_BLOCK, Bytes, Floats, assemble, block_format

AWQ_NIBBLES = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where in an int32 of AWQ a column's four bits lie; in all others the first are the lowest."""

_GROUPS = (128, 64, 32)
_HALF_STEP = 2.0**-11  # of float16, relative


@dataclass(frozen=True)
class Scales:
    """Of all rows. Either zero or offset is there."""

    scale: Floats  # [rows, groups]
    zero: Floats | None  # [rows, groups], whole numbers
    offset: Floats | None = None  # [rows, groups]


@dataclass(frozen=True)
class GroupedMatrix:
    """A stored matrix."""

    shape: tuple[int, ...]  # [rows, columns] or [experts, rows, columns]
    bits: int  # 4 or 8
    read_codes: Callable[[int, int], NDArray[np.uint8]]  # rows [start, stop) -> [.., columns]
    read_scales: Callable[[], Scales]


@dataclass(frozen=True)
class Kept:
    """What holds a matrix as it is."""

    format: str  # block format
    how: str  # for people


def unpack(words: NDArray[Any], bits: int, order: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """int32 or uint32 [.., n] -> [.., n * 32 / bits]. order: where a word's first, second .. value lies."""
    places = np.array(order if order is not None else range(32 // bits), np.uint32)
    lanes: NDArray[Any] = words.view(np.uint32)[..., None] >> (places * np.uint32(bits)) & np.uint32((1 << bits) - 1)
    values: NDArray[np.uint8] = lanes.astype(np.uint8).reshape(*words.shape[:-1], -1)
    return values


def find_kept(matrix: GroupedMatrix, scales: Scales) -> Kept | None:
    """The block format that has the same codes; None if none does, or float16 cannot hold the scales.

    Raises CheckpointError for scales that are not finite.
    """
    columns = matrix.shape[-1]
    group = columns // scales.scale.shape[1]
    for name, values in (("scale", scales.scale), ("zero point", scales.zero), ("offset", scales.offset)):
        if values is not None and not np.isfinite(values).all():
            row, at = np.argwhere(~np.isfinite(values))[0]
            raise CheckpointError(f"expected a finite {name}, found {values[row, at]} in row {row}, group {at}")
    ours = next((size for size in _GROUPS if group % size == 0), None)
    with np.errstate(over="ignore"):
        half = scales.scale.astype(np.float16).astype(np.float32)
        if ours is None or (np.abs(half - scales.scale) > _HALF_STEP * np.abs(scales.scale)).any():
            return None
        middle = scales.zero is not None and bool((scales.zero == 1 << matrix.bits - 1).all())
        exact = bool((half == scales.scale).all())
        if not middle:
            offset = _offsets(scales)
            stored = offset.astype(np.float16).astype(np.float32)
            if matrix.bits != 4 or not np.isfinite(stored).all():
                return None
            parts = [
                name for name, same in (("scales", exact), ("offsets", bool((stored == offset).all()))) if not same
            ]
            how = f"the same levels, {' and '.join(parts)} rounded to float16" if parts else "the same weights"
            return Kept(f"q4a{ours}", how)
    how = "the same weights" if exact else "the same levels, scales rounded to float16"
    if matrix.bits == 4:
        return Kept(f"q4g{ours}", how)
    return Kept("q8" if _fills_blocks(half, group, columns) else "q8g32", how)


def pack_grouped(name: str, codes: NDArray[np.uint8], scales: Scales) -> Bytes:
    """Rows [.., columns] with their scales as packed panels; missing rows of the last panel are zero."""
    fmt = block_format(name)
    columns = codes.shape[1]
    group = columns // scales.scale.shape[1]
    per_block = np.minimum(np.arange(0, columns, fmt.block) // group, scales.scale.shape[1] - 1)
    planes: dict[str, NDArray[Any]] = {"d": scales.scale[:, per_block].astype(np.float16).T}
    if fmt.kind == "q8":
        planes["w8"] = (codes ^ 0x80).view(np.int8).T
    else:
        planes["q4"] = codes.T
    if fmt.kind == "q4a":
        planes["m"] = _offsets(scales)[:, per_block].astype(np.float16).T
    return assemble(fmt, columns, planes)


def dequantize_grouped(codes: NDArray[np.uint8], scales: Scales) -> Floats:
    """The weights of rows [.., columns], float32."""
    groups = codes.astype(np.float32).reshape(len(codes), scales.scale.shape[1], -1)
    scale = scales.scale[..., None]
    if scales.zero is not None:
        weights: Floats = scale * (groups - scales.zero[..., None])
    else:
        assert scales.offset is not None
        weights = scale * groups + scales.offset[..., None]
    return weights.reshape(codes.shape)


def rows_of(scales: Scales, start: int, stop: int) -> Scales:
    """Of rows [start, stop)."""
    parts = (None if part is None else part[start:stop] for part in (scales.scale, scales.zero, scales.offset))
    return Scales(*parts)  # type: ignore[arg-type]


def _offsets(scales: Scales) -> Floats:
    if scales.offset is not None:
        return scales.offset
    assert scales.zero is not None
    return -scales.scale * scales.zero


def _fills_blocks(scale: Floats, group: int, columns: int) -> bool:
    """Whether the groups of each block of 256 share one scale."""
    if columns % COLUMN_UNIT:
        return False
    fine = scale.repeat(group // COLUMN_UNIT, axis=1)  # of 32 columns each
    blocks = np.pad(fine, ((0, 0), (0, -fine.shape[1] % (SUPER_BLOCK // COLUMN_UNIT))), mode="edge")
    blocks = blocks.reshape(len(fine), -1, SUPER_BLOCK // COLUMN_UNIT)
    return bool((blocks == blocks[..., :1]).all())
