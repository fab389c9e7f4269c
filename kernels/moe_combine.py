"""Adds up what a token's experts gave, in the order of their rank: one answer, whatever order they ran in."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from qwen3edge.kernels.arguments import expect
from qwen3edge.kernels.specialization import ModelShape, Specialization

_BLOCK = 1024  # columns of a program: 128-bit loads at 4 warps
_WARPS = 4


@triton.jit
def moe_combine_kernel(
    parts,  # [tokens, TOP_K, columns] float32, weighted
    ids,  # [tokens, TOP_K] int32; -1: padding, left out
    out,  # [tokens, columns]
    columns,
    TOP_K: tl.constexpr,
    BLOCK: tl.constexpr,
):
    t = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = c < columns
    total = tl.zeros((BLOCK,), tl.float32)
    for rank in tl.static_range(TOP_K):
        pair = t * TOP_K + rank
        end = tl.where(tl.load(ids + pair) >= 0, columns, 0)
        total += tl.load(parts + pair * columns + c, mask=c < end, other=0.0)
    tl.store(out + t * columns + c, total.to(out.dtype.element_ty), mask=inside)


@torch.library.custom_op("qwen3edge::moe_combine", mutates_args=())
def moe_combine(parts: torch.Tensor, ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """parts float32 [tokens * top_k, columns], ids int32 [tokens, top_k] -> [tokens, columns] of dtype.

    Raises KernelShapeError, KernelTypeError.
    """
    expect("ids", ids, (torch.int32,), (None, None))
    expect("parts", parts, (torch.float32,), (ids.numel(), None), ids)
    tokens, top_k = ids.shape
    columns = parts.shape[1]
    out = torch.empty(tokens, columns, dtype=dtype, device=parts.device)
    if out.numel():
        grid = (tokens, triton.cdiv(columns, _BLOCK))
        moe_combine_kernel[grid](
            parts, ids, out, columns, top_k, _BLOCK, num_warps=_WARPS, num_stages=1, enable_fp_fusion=True
        )
    return out


@moe_combine.register_fake
def _(parts: torch.Tensor, ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return parts.new_empty((ids.shape[0], parts.shape[1]), dtype=dtype)


def specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """One token; none for a dense model."""
    del target
    if not shape.experts:
        return []
    hidden, top_k = shape.hidden, shape.experts_per_token
    return [
        Specialization(
            name=f"moe_combine_f32_f32_{top_k}",
            kernel=moe_combine_kernel,
            signature={"parts": "*fp32", "ids": "*i32", "out": "*fp32", "columns": "i32"},
            constexprs={"TOP_K": top_k, "BLOCK": _BLOCK},
            divisible_by_16=("columns",),
            num_warps=_WARPS,
            num_stages=1,
            grid=("tokens", f"(columns + {_BLOCK - 1}) / {_BLOCK}", "1"),
            shape=f"{top_k} of {hidden} columns, 1 token",
            bytes_moved=4 * hidden * (top_k + 1),
            operations=hidden * top_k,
        )
    ]
