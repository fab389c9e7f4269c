"""The tensors of a quantized matrix: how ops and kernels take them, what they must be, how many bytes they have."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import triton

from qwen3edge.kernels.arguments import expect, expect_offsets
from qwen3edge.kernels.errors import KernelShapeError, KernelTypeError
from qwen3edge.kernels.packing import TILE, DeviceMatrix
from qwen3edge.kernels.panels import PANEL_ROWS, PackedFormat

_POINTERS = {
    torch.int16: "*i16",
    torch.uint8: "*u8",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.float32: "*fp32",
}


class MatrixParts(NamedTuple):
    """Tensors of a `DeviceMatrix` in the order of every kernel's arguments."""

    words: torch.Tensor  # of an unquantized matrix its weights
    high: torch.Tensor | None
    scales: torch.Tensor | None
    offsets: torch.Tensor | None
    steps: torch.Tensor | None

    @classmethod
    def of(cls, matrix: DeviceMatrix) -> MatrixParts:
        """Those of the matrix."""
        words = matrix.words if matrix.dense is None else matrix.dense
        assert words is not None
        return cls(words, matrix.high, matrix.scales, matrix.offsets, matrix.steps)


class PartType(NamedTuple):
    """What one of the tensors must be."""

    dtype: torch.dtype
    shape: tuple[int, ...]  # without experts

    @property
    def pointer(self) -> str:
        """The type of a kernel's argument."""
        return _POINTERS[self.dtype]

    @property
    def nbytes(self) -> int:
        """Bytes of one matrix."""
        return self.dtype.itemsize * math.prod(self.shape)


def part_types(fmt: PackedFormat, rows: int = PANEL_ROWS, columns: int = TILE) -> dict[str, PartType | None]:
    """The fields of `MatrixParts` for a quantized format; None for what it does not have."""
    tiles = triton.cdiv(columns, TILE)
    stored = triton.cdiv(rows, PANEL_ROWS) * PANEL_ROWS
    words = {32: torch.int64, 64: torch.int32}  # what holds a tile's 16-bit values by their group
    scale_rows = triton.cdiv(tiles, 2) if fmt.block == 2 * TILE else tiles
    scales = PartType(words.get(fmt.block, torch.float32), (scale_rows, stored))
    return {
        "words": PartType(torch.int16, (stored, tiles * (64 if fmt.bits == 8 else 32))),
        "high": PartType(torch.uint8, (stored, tiles * 32)) if fmt.bits == 6 else None,
        "scales": scales,
        "offsets": scales if fmt.kind == "q4a" else None,
        "steps": PartType(words[fmt.step_group], (tiles, stored)) if fmt.step_group else None,
    }


def matrix_nbytes(fmt: PackedFormat, rows: int, columns: int) -> int:
    """Bytes of a quantized `DeviceMatrix`."""
    return sum(part.nbytes for part in part_types(fmt, rows, columns).values() if part is not None)


def check_parts(
    x: torch.Tensor, parts: MatrixParts, fmt: PackedFormat, rows: int, experts: tuple[int | None, ...] = ()
) -> None:
    """Raises KernelTypeError or KernelShapeError unless the tensors are parts of such a matrix and fit x [.., K].

    experts: the leading dimension of a batch of matrices, (None,) for any.
    """
    if fmt.kind == "dense":
        raise KernelTypeError(f"format: expected a quantized one, found {fmt.name}")
    K = x.shape[1]
    if K == 0 or K % fmt.column_unit:
        raise KernelShapeError(f"x: expected a multiple of {fmt.column_unit} columns for {fmt.name}, found {K}")
    expect_offsets("x", *x.shape)
    for (name, wanted), part in zip(part_types(fmt, rows, K).items(), parts, strict=True):
        if (part is not None) != (wanted is not None):
            raise KernelTypeError(f"{name}: expected {'a tensor' if wanted else 'none'} for {fmt.name}")
        if part is not None and wanted is not None:
            expect(name, part, (wanted.dtype,), (*experts, *wanted.shape), x)
            expect_offsets(name, *wanted.shape)
            experts = part.shape[: len(experts)]
