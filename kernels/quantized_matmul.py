"""`quantized_matmul`: activations times a `DeviceMatrix`, whatever its format."""

from __future__ import annotations

import torch

from qwen3edge.kernels.arguments import WORKING_TYPES, expect
from qwen3edge.kernels.errors import KernelShapeError
from qwen3edge.kernels.matmul_a16 import matmul_a16
from qwen3edge.kernels.packing import DeviceMatrix


def quantized_matmul(
    x: torch.Tensor, matrix: DeviceMatrix, *, residual: torch.Tensor | None = None, wide: bool = False
) -> torch.Tensor:
    """x [M, columns] float16 or bfloat16 -> [M, rows] in the same type, or float32 if wide.

    residual: [M, rows], added before rounding. Raises KernelTypeError and KernelShapeError.
    """
    if matrix.experts is not None:
        raise KernelShapeError(f"matrix: expected a single one, found {matrix.experts} experts")
    expect("x", x, WORKING_TYPES, (None, matrix.columns))
    if matrix.dense is not None:
        return _dense_matmul(x, matrix.dense, residual, wide)
    return matmul_a16(
        x,
        matrix.words,
        matrix.high,
        matrix.scales,
        matrix.offsets,
        matrix.steps,
        residual,
        matrix.format,
        matrix.rows,
        wide,
    )


def _dense_matmul(x: torch.Tensor, weights: torch.Tensor, residual: torch.Tensor | None, wide: bool) -> torch.Tensor:
    """Unquantized weights: torch's own product, in the wider type of the two."""
    common = torch.promote_types(x.dtype, weights.dtype)
    y = torch.nn.functional.linear(x.to(common), weights.to(common))
    if residual is not None:
        y = y + residual
    return y.to(torch.float32 if wide else x.dtype)
