"""`quantized_matmul` and what it has beside it: activations times `DeviceMatrix`, whatever their formats."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from qwen3edge.kernels.arguments import WORKING_TYPES, expect
from qwen3edge.kernels.errors import KernelShapeError, KernelTypeError
from qwen3edge.kernels.matmul_a8 import matmul_a8, matmul_a8_gated, matmul_a8_parts
from qwen3edge.kernels.matmul_a16 import matmul_a16, matmul_a16_gated, matmul_a16_parts
from qwen3edge.kernels.matmul_pair import matmul_pair
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
    _expect_single(matrix, x)
    if int8 and matrix.dense is None:
        rounded = quantize_activations(x, matrix.packed_format.block)
        return rounded_matmul(*rounded, matrix, torch.float32 if wide else x.dtype, residual=residual)
    return matmul_a16(x, *MatrixParts.of(matrix), residual, matrix.format, matrix.rows, wide)


def product_parts(x: torch.Tensor, matrices: Sequence[DeviceMatrix], *, int8: bool = False) -> torch.Tensor:
    """The products of x [M, columns] with each matrix side by side, in parts that who reads them adds up in order:
    float32 [parts, M, rows of all]. One launch for one matrix and for two quantized ones, but for int8.

    Raises KernelTypeError and KernelShapeError.
    """
    for matrix in matrices:
        _expect_single(matrix, x)
    if len(matrices) == 1:
        (matrix,) = matrices
        parts = MatrixParts.of(matrix)
        if int8 and matrix.dense is None:
            rounded = _rounded(x, matrix)
            return matmul_a8_parts(*rounded, *parts, matrix.format, matrix.rows)
        return matmul_a16_parts(x, *parts, matrix.format, matrix.rows)
    if len(matrices) == 2 and not int8 and all(matrix.dense is None for matrix in matrices):
        first, second = ((*MatrixParts.of(matrix), matrix.format, matrix.rows) for matrix in matrices)
        return matmul_pair(x, *first, *second)
    products = [quantized_matmul(x, matrix, wide=True, int8=int8) for matrix in matrices]
    return torch.cat(products, dim=1)[None]


def gated_product(x: torch.Tensor, gate_up: DeviceMatrix, *, int8: bool = False) -> torch.Tensor:
    """silu(gate) * up of x [M, columns]: [M, rows / 2] in the type of x. The matrix has 16 rows of the gate and 16 of
    up in turn. Raises KernelTypeError and KernelShapeError.
    """
    _expect_single(gate_up, x)
    parts = MatrixParts.of(gate_up)
    if int8 and gate_up.dense is None:
        return matmul_a8_gated(*_rounded(x, gate_up), *parts, gate_up.format, gate_up.rows, x.dtype)
    return matmul_a16_gated(x, *parts, gate_up.format, gate_up.rows)


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


def _rounded(x: torch.Tensor, matrix: DeviceMatrix) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    quants, scales, sums = quantize_activations(x, matrix.packed_format.block)
    return quants, scales, sums if matrix.offsets is not None else None


def _expect_single(matrix: DeviceMatrix, x: torch.Tensor | None = None) -> None:
    if matrix.experts is not None:
        raise KernelShapeError(f"matrix: expected a single one, found {matrix.experts} experts")
    if x is not None:
        expect("x", x, WORKING_TYPES, (None, matrix.columns))
