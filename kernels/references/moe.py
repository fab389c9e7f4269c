"""A mixture of experts in plain torch."""

from __future__ import annotations

import torch


def moe_router(
    logits: torch.Tensor, top_k: int, renormalize: bool, rows: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `moe_router.moe_router` computes."""
    scores = logits.float().softmax(dim=-1)
    weights, ids = (x[:, :top_k] for x in scores.sort(dim=-1, descending=True, stable=True))
    if renormalize:
        weights = weights / weights.sum(dim=-1, keepdim=True)
    ids = ids.int()
    if rows is not None:
        ids = torch.where(torch.arange(len(ids), device=ids.device)[:, None] < rows, ids, -1)
    return weights, ids


def moe_combine(parts: torch.Tensor, ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What `moe_combine.moe_combine` computes: one rank after the other."""
    tokens, top_k = ids.shape
    parts = parts.unflatten(0, (tokens, top_k)).masked_fill((ids < 0)[..., None], 0)
    total = torch.zeros_like(parts[:, 0])
    for rank in range(top_k):
        total = total + parts[:, rank]
    return total.to(dtype)


def moe_align(ids: torch.Tensor, experts: int, block: int) -> tuple[list[int], list[int]]:
    """What `moe_align.moe_align` computes, without the blocks past the last one."""
    flat = ids.flatten().tolist()
    order, owners = [], []
    for expert in range(experts):
        run = [i for i, e in enumerate(flat) if e == expert]
        run += [len(flat)] * (-len(run) % block)
        order += run
        owners += [expert] * (len(run) // block)
    return order, owners
