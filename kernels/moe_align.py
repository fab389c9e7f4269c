"""Sorts (token, expert) pairs by expert, each expert's run padded to whole blocks, so that a grouped GEMM has one
expert a block.

Three launches, no atomics and no sort: every chunk of pairs counts its experts, one program turns the counts into
offsets, every chunk puts its pairs in place. Pairs of an expert keep their order, so the result is one.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from qwen3edge.kernels.arguments import expect
from qwen3edge.kernels.configuration import configuration
from qwen3edge.kernels.errors import KernelShapeError
from qwen3edge.kernels.specialization import ModelShape, Specialization

# Pairs of a program: their ranks are a [CHUNK, CHUNK] comparison, which at 128 spills on gfx942 and gfx1100.
_CHUNK = 64
# Blocks whose expert is looked up together.
_LOOKUP = 32
_WARPS = 4
MAX_EXPERTS = 1024


@triton.jit(do_not_specialize=["pairs"])
def moe_count_kernel(
    ids,  # [pairs] int32; -1: padding, left out
    counts,  # [chunks, BLOCK_E] int32
    pairs,
    CHUNK: tl.constexpr,
    BLOCK_E: tl.constexpr,  # experts, up to a power of two
):
    chunk = tl.program_id(0)
    i = chunk * CHUNK + tl.arange(0, CHUNK)
    e = tl.load(ids + i, mask=i < pairs, other=-1)
    counted = tl.histogram(tl.maximum(e, 0), BLOCK_E, mask=e >= 0)
    tl.store(counts + chunk * BLOCK_E + tl.arange(0, BLOCK_E), counted)


@triton.jit(do_not_specialize=["chunks", "pairs", "blocks"])
def moe_offset_kernel(
    counts,  # [chunks, BLOCK_E] int32
    offsets,  # like counts: where a chunk's pairs of an expert begin; not in place, as a warp may still be counting
    order,  # [blocks * BLOCK_M] int32: filled with `pairs`, which stands for padding
    experts,  # [blocks] int32: the expert of a block, -1 past the last one
    chunks,
    pairs,
    blocks,
    BLOCK_M: tl.constexpr,
    BLOCK_E: tl.constexpr,
    LOOKUP: tl.constexpr,
):
    e = tl.arange(0, BLOCK_E)
    total = tl.zeros((BLOCK_E,), tl.int32)
    for chunk in range(chunks):
        total += tl.load(counts + chunk * BLOCK_E + e)
    padded = (total + BLOCK_M - 1) // BLOCK_M * BLOCK_M
    end = tl.cumsum(padded, 0)
    begin = end - padded
    for chunk in range(chunks):
        own = tl.load(counts + chunk * BLOCK_E + e)
        tl.store(offsets + chunk * BLOCK_E + e, begin)
        begin += own
    all_blocks = tl.sum(padded, 0) // BLOCK_M
    m = tl.arange(0, BLOCK_M)
    for first in range(0, blocks, LOOKUP):
        b = first + tl.arange(0, LOOKUP)
        expert = tl.sum((end[None, :] <= (b * BLOCK_M)[:, None]).to(tl.int32), axis=1)
        tl.store(experts + b, tl.where(b < all_blocks, expert, -1), mask=b < blocks)
        place = b[:, None] * BLOCK_M + m[None, :]
        tl.store(order + place, tl.zeros((LOOKUP, BLOCK_M), tl.int32) + pairs, mask=(b < blocks)[:, None])


@triton.jit(do_not_specialize=["pairs"])
def moe_place_kernel(
    ids,  # [pairs] int32
    offsets,  # [chunks, BLOCK_E] int32
    order,  # [blocks * BLOCK_M] int32
    pairs,
    CHUNK: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    chunk = tl.program_id(0)
    lane = tl.arange(0, CHUNK)
    i = chunk * CHUNK + lane
    e = tl.load(ids + i, mask=i < pairs, other=-1)
    earlier = (e[:, None] == e[None, :]) & (lane[None, :] < lane[:, None])
    rank = tl.sum(earlier.to(tl.int32), axis=1)
    begin = tl.load(offsets + chunk * BLOCK_E + e, mask=e >= 0, other=0)
    tl.store(order + begin + rank, i, mask=e >= 0)


def block_bound(pairs: int, experts: int, block: int) -> int:
    """Most blocks that `pairs` can need: every expert that has any may leave one block nearly empty."""
    return triton.cdiv(pairs + min(pairs, experts) * (block - 1), block)


@torch.library.custom_op("qwen3edge::moe_align", mutates_args=())
def moe_align(ids: torch.Tensor, experts: int, block: int) -> tuple[torch.Tensor, torch.Tensor]:
    """ids int32 [tokens, top_k], each below experts or -1 (left out) -> order, expert of each block.

    order: int32 [blocks * block], places in ids.flatten() by expert, an expert's run padded with ids.numel() to whole
    blocks. The second: int32 [blocks], -1 for blocks past the last. blocks is `block_bound`, whatever the ids are.
    Raises KernelShapeError, KernelTypeError.
    """
    expect("ids", ids, (torch.int32,), (None, None))
    if not 1 <= experts <= MAX_EXPERTS or block < 1 or block & block - 1:
        raise KernelShapeError(
            f"expected 1 to {MAX_EXPERTS} experts and a power of two as block, found {experts} and {block}"
        )
    pairs = ids.numel()
    blocks = block_bound(pairs, experts, block)
    order = torch.empty(blocks * block, dtype=torch.int32, device=ids.device)
    owners = torch.empty(blocks, dtype=torch.int32, device=ids.device)
    if pairs:
        chunks, block_e = triton.cdiv(pairs, _CHUNK), triton.next_power_of_2(experts)
        counts, offsets = (torch.empty(chunks, block_e, dtype=torch.int32, device=ids.device) for _ in range(2))
        options = {"num_warps": _WARPS, "num_stages": 1, "enable_fp_fusion": True}
        moe_count_kernel[(chunks,)](ids, counts, pairs, _CHUNK, block_e, **options)
        moe_offset_kernel[(1,)](
            counts, offsets, order, owners, chunks, pairs, blocks, block, block_e, _LOOKUP, **options
        )
        moe_place_kernel[(chunks,)](ids, offsets, order, pairs, _CHUNK, block_e, **options)
    return order, owners


@moe_align.register_fake
def _(ids: torch.Tensor, experts: int, block: int) -> tuple[torch.Tensor, torch.Tensor]:
    blocks = block_bound(ids.numel(), experts, block)
    return ids.new_empty(blocks * block), ids.new_empty(blocks)


def specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """A short and a whole chunk of a prompt; none for a dense model."""
    if not shape.experts:
        return []
    found = {}
    for tokens in (64, 512):
        pairs = tokens * shape.experts_per_token
        block = configuration("moe_grouped", target, triton.cdiv(pairs, shape.experts))["BLOCK_M"]
        found |= {special.name: special for special in _specializations(shape, pairs, block)}
    return list(found.values())


def _specializations(shape: ModelShape, pairs: int, block: int) -> list[Specialization]:
    block_e = triton.next_power_of_2(shape.experts)
    chunks, blocks = triton.cdiv(pairs, _CHUNK), block_bound(pairs, shape.experts, block)
    table = 4 * chunks * block_e
    kernels = [
        ("", moe_count_kernel, {"CHUNK": _CHUNK}, 4 * pairs + table),
        (f"_{block}", moe_offset_kernel, {"BLOCK_M": block, "LOOKUP": _LOOKUP}, 3 * table + 4 * blocks * (block + 1)),
        ("", moe_place_kernel, {"CHUNK": _CHUNK}, 8 * pairs + table),
    ]
    types = {
        **dict.fromkeys(("ids", "counts", "offsets", "order", "experts"), "*i32"),
        **dict.fromkeys(("chunks", "pairs", "blocks"), "i32"),
    }
    found = []
    for suffix, kernel, tile, moved in kernels:
        constants = {**tile, "BLOCK_E": block_e}
        found.append(
            Specialization(
                name=f"{kernel.__name__.removesuffix('_kernel')}_{shape.experts}{suffix}",
                kernel=kernel,
                signature={name: types[name] for name in kernel.arg_names if name not in constants},
                constexprs=constants,
                divisible_by_16=(),
                num_warps=_WARPS,
                num_stages=1,
                grid=("1" if kernel is moe_offset_kernel else "chunks", "1", "1"),
                shape=f"{pairs} pairs, {shape.experts} experts",
                bytes_moved=moved,
                operations=0,
            )
        )
    return found
