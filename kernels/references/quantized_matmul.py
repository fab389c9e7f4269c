"""Activations times a quantized matrix, in float32."""

from __future__ import annotations

import torch

from qwen3edge.kernels.packing import DeviceMatrix
from qwen3edge.kernels.references.packing import weights


def quantized_matmul(x: torch.Tensor, matrix: DeviceMatrix, residual: torch.Tensor | None = None) -> torch.Tensor:
    """float32 [M, rows]."""
    y = x.float() @ weights(matrix).T
    return y if residual is None else y + residual.float()


def rounded_matmul(quants: torch.Tensor, scales: torch.Tensor, matrix: DeviceMatrix) -> torch.Tensor:
    """float32 [M, rows] of int8 [M, K] and one scale a block of the matrix's format."""
    block = matrix.packed_format.block
    x = quants.float() * scales.repeat_interleave(block, dim=1)[:, : quants.shape[1]]
    return (x.double() @ weights(matrix).double().T).float()
