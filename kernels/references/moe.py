"""A mixture of experts in plain torch."""

from __future__ import annotations

import dataclasses

import torch

from qwen3edge.kernels.packing import DeviceMatrix
from qwen3edge.kernels.references import packing

GATE_ROWS = 16  # rows of the gate, then as many of up, in turn (docs/format.md)


def expert_of(matrix: DeviceMatrix, expert: int) -> DeviceMatrix:
    """One matrix of a batch."""
    parts = ("words", "high", "scales", "offsets", "steps", "dense")
    taken = {name: part[expert] for name in parts if (part := getattr(matrix, name)) is not None}
    return dataclasses.replace(matrix, experts=None, **taken)


def moe_gate_up(x: torch.Tensor, ids: torch.Tensor, gate_up: DeviceMatrix) -> torch.Tensor:
    """x [tokens, K], ids [tokens, top_k] -> silu(gate) * up, float32 [tokens * top_k, rows / 2]; 0 for an id of -1."""
    both = _products(x.repeat_interleave(ids.shape[1], dim=0), ids, gate_up)
    gate, up = both.view(len(both), gate_up.rows // (2 * GATE_ROWS), 2, GATE_ROWS).unbind(2)
    return (torch.nn.functional.silu(gate) * up).flatten(1)


def moe_down(x: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor, down: DeviceMatrix) -> torch.Tensor:
    """x [tokens * top_k, K] -> products times the router's weights, float32 [tokens * top_k, rows]; 0 for -1."""
    return _products(x, ids, down) * torch.where(ids < 0, 0, weights).flatten()[:, None]


def _products(x: torch.Tensor, ids: torch.Tensor, matrix: DeviceMatrix) -> torch.Tensor:
    out = torch.zeros(ids.numel(), matrix.rows, device=x.device)
    for expert in range(matrix.experts or 0):
        pairs = (ids.flatten() == expert).nonzero().flatten()
        if len(pairs):
            out[pairs] = x[pairs].float() @ packing.weights(expert_of(matrix, expert)).T
    return out


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
