"""Activations times a quantized matrix, in float32."""

from __future__ import annotations

import torch

from qwen3edge.kernels.packing import DeviceMatrix
from qwen3edge.kernels.references.packing import weights


def quantized_matmul(x: torch.Tensor, matrix: DeviceMatrix, residual: torch.Tensor | None = None) -> torch.Tensor:
    """float32 [M, rows]."""
    y = x.float() @ weights(matrix).T
    return y if residual is None else y + residual.float()
