"""`quantized_matmul`: activations times a `DeviceMatrix`, whatever its format."""

from __future__ import annotations

import torch

from qwen3edge.kernels.arguments import WORKING_TYPES, expect
from qwen3edge.kernels.errors import KernelShapeError, KernelTypeError
from qwen3edge.kernels.matmul_a8 import matmul_a8
from qwen3edge.kernels.matmul_a16 import matmul_a16
from qwen3edge.kernels.matmul_parts import MatrixParts
from qwen3edge.kernels.packing import DeviceMatrix
from qwen3edge.kernels.quantize_activations import quantize_activations


def quantized_matmul(
    x: torch.Tensor,
    matrix: DeviceMatrix,
    *,
    residual: torch.Tensor | None = None,
    wide: bool = False,
    int8: bool = False,
) -> torch.Tensor:
    """x [M, columns] float16 or bfloat16 -> [M, rows] in the same type, or float32 if wide.

    residual: [M, rows], added before rounding. int8: activations are rounded to int8 first, as the CPU does, for the
    int8 matrix instructions. Raises KernelTypeError and KernelShapeError.
    """
    _expect_single(matrix)
    expect("x", x, WORKING_TYPES, (None, matrix.columns))
    if matrix.dense is not None:
        return _dense_matmul(x, matrix.dense, residual, wide)
    if int8:
        rounded = quantize_activations(x, matrix.packed_format.block)
        return rounded_matmul(*rounded, matrix, torch.float32 if wide else x.dtype, residual=residual)
    return matmul_a16(x, *MatrixParts.of(matrix), residual, matrix.format, matrix.rows, wide)


def rounded_matmul(
    quants: torch.Tensor,
    scales: torch.Tensor,
    sums: torch.Tensor | None,
    matrix: DeviceMatrix,
    dtype: torch.dtype,
    *,
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """What `quantize_activations` gives for the block of the format, or `rmsnorm_quantize` for blocks of 256, times
    the matrix -> [M, rows] in `dtype`. The sums are needed for q4a only. Raises KernelTypeError and KernelShapeError.
    """
    _expect_single(matrix)
    if matrix.dense is not None:
        raise KernelTypeError(f"matrix: expected a quantized one, found {matrix.format}")
    expect("quants", quants, (torch.int8,), (None, matrix.columns))
    needed = sums if matrix.offsets is not None else None
    return matmul_a8(quants, scales, needed, *MatrixParts.of(matrix), residual, matrix.format, matrix.rows, dtype)


def _expect_single(matrix: DeviceMatrix) -> None:
    if matrix.experts is not None:
        raise KernelShapeError(f"matrix: expected a single one, found {matrix.experts} experts")


def _dense_matmul(x: torch.Tensor, weights: torch.Tensor, residual: torch.Tensor | None, wide: bool) -> torch.Tensor:
    """Unquantized weights: torch's own product, in the wider type of the two."""
    common = torch.promote_types(x.dtype, weights.dtype)
    y = torch.nn.functional.linear(x.to(common), weights.to(common))
    if residual is not None:
        y = y + residual
    return y.to(torch.float32 if wide else x.dtype)
