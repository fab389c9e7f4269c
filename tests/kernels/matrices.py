"""Random matrices and activations with outliers."""

import numpy as np
import torch

from qwen3edge.kernels.packing import DeviceMatrix
from tests.reference.quantizers import quantize


def matrix_of(name: str, rows: int, columns: int, seed: int) -> DeviceMatrix:
    """Packed by the oracle, on the CPU."""
    return DeviceMatrix.from_packed(name, packed_of(name, rows, columns, seed), rows, columns, "cpu", torch.bfloat16)


def packed_of(name: str, rows: int, columns: int, seed: int) -> torch.Tensor:
    """The bytes of `matrix_of`."""
    rng = np.random.default_rng(seed)
    w = (rng.standard_normal((rows, columns)) * 0.05).astype(np.float32)
    w[:, rng.integers(0, columns, 3)] *= 20  # outliers
    return torch.from_numpy(quantize(name, w).copy())


def activations(rows: int, columns: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """[rows, columns] with one large column."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=generator)
    x[:, 7] *= 30
    return x.to(dtype)
