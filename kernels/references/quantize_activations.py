"""Rounding of activations to int8, the CPU's way: 127 steps to the largest of a block, ties to even."""

from __future__ import annotations

import torch

from qwen3edge.kernels.references.rmsnorm import quantize


def quantize_activations(x: torch.Tensor, block: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x [M, K] -> int8 [M, K], float32 scales [M, blocks], int32 sums [M, blocks]."""
    quants, scales = quantize(x.float(), block)
    tiles = torch.nn.functional.pad(quants, (0, -x.shape[1] % block)).unflatten(-1, (-1, block))
    return quants.contiguous(), scales, tiles.sum(dim=2, dtype=torch.int32)
