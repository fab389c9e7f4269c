"""Random matrices and activations with outliers."""

import numpy as np
import torch

from qwen3edge.kernels.packing import DeviceMatrix
from tests.reference.quantizers import quantize


def matrix_of(name: str, rows: int, columns: int, seed: int) -> DeviceMatrix:
    """Packed by the oracle, on the CPU."""
    rng = np.random.default_rng(seed)
    w = (rng.standard_normal((rows, columns)) * 0.05).astype(np.float32)
    w[:, rng.integers(0, columns, 3)] *= 20  # outliers
    data = torch.from_numpy(quantize(name, w).copy())
    return DeviceMatrix.from_packed(name, data, rows, columns, "cpu", torch.bfloat16)


def activations(rows: int, columns: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """[rows, columns] with one large column."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=generator)
    x[:, 7] *= 30
    return x.to(dtype)
