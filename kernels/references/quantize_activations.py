"""Rounding of activations to int8, the CPU's way: 127 steps to the largest of a block, ties to even."""

from __future__ import annotations

import torch


def quantize_activations(x: torch.Tensor, block: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x [M, K] -> int8 [M, K], float32 scales [M, blocks], int32 sums [M, blocks]."""
    M, K = x.shape
    blocks = -(-K // block)
    values = torch.nn.functional.pad(x.float(), (0, blocks * block - K)).view(M, blocks, block)
    largest = values.abs().amax(dim=2)
    inverse = torch.where(largest > 0, 127 / largest, 0)
    quants = (values * inverse[:, :, None]).clamp(-127, 127).round().to(torch.int8)
    sums = quants.sum(dim=2, dtype=torch.int32)
    return quants.view(M, -1)[:, :K].contiguous(), largest / 127, sums
