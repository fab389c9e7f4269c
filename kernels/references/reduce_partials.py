"""Sum of partial products."""

from __future__ import annotations

import torch


def reduce_partials(partials: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor:
    """float32 [splits, rows, columns] -> float32 [rows, columns]."""
    total = partials.sum(dim=0)
    return total if residual is None else total + residual.float()
