"""Attention of few rows: splits of the context, and their sum. See attention.py."""

from __future__ import annotations

from collections.abc import Mapping

import triton
import triton.language as tl

from qwen3edge.kernels.attention_pages import STEPS, exact_dot, high_and_low, softmax_shift
from qwen3edge.kernels.configuration import configuration
from qwen3edge.kernels.numerics import largest_magnitude

SPLIT = 256  # positions: 16 programs for 512 positions of 8 key heads, as many as the smallest device has SMs
FEW_ROWS = 16  # the narrowest side that all tensor cores take; more rows are a block of the prefill kernel
COMBINED = 8  # splits added up at once


@triton.jit(do_not_specialize=["heads", "kv_heads", "max_pages", "limit"])
def attention_decode_kernel(
    queries,  # [tokens, heads, head_dim]
    keys,  # [pages, kv_heads, 64, head_dim] int8, float16 or bfloat16
    key_scales,  # [pages, kv_heads, 64] float32; None: not int8
    values,  # [pages, kv_heads, head_dim, 64], likewise
    value_scales,  # [pages, kv_heads, 64] float32 or None
    block_tables,  # [slots, max_pages] int32
    slots,  # [sequences] int32
    query_starts,  # [sequences + 1] int32
    lengths,  # [sequences] int32
    sums,  # [splits, sequences, limit, heads, head_dim] float32
    statistics,  # [splits, sequences, limit, heads, 2] float32: maximum, sum of the weights
    scale,  # log2(e) / sqrt(head_dim)
    heads,
    kv_heads,
    max_pages,
    limit,  # sequences of more queries are not for this kernel
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,  # HEAD_DIM, rounded up to a power of two
    GROUP: tl.constexpr,  # heads / kv_heads
    ROWS: tl.constexpr,  # at least limit * GROUP
    SPLIT: tl.constexpr,
    BLOCK: tl.constexpr,  # positions at once: a page or half of one
):
    split = tl.program_id(0)
    kv_head = tl.program_id(1)
    sequence = tl.program_id(2)
    start = tl.load(query_starts + sequence)
    count = tl.load(query_starts + sequence + 1) - start
    length = tl.load(lengths + sequence)
    if (count > 0) & (count <= limit) & (split * SPLIT < length):
        row = tl.arange(0, ROWS)
        used = row < count * GROUP
        token = (start + row // GROUP).to(tl.int64)
        head = kv_head * GROUP + row % GROUP
        position = length - count + row // GROUP  # of the query
        i = tl.arange(0, DIM)
        j = tl.arange(0, BLOCK)
        q_mask = used[None, :] & (i < HEAD_DIM)[:, None]
        q = tl.load(queries + (token * heads + head)[None, :] * HEAD_DIM + i[:, None], mask=q_mask, other=0.0)
        if key_scales is None:
            q = q.to(keys.dtype.element_ty)  # [DIM, ROWS]
        else:
            q = q.to(tl.float32)
            size = largest_magnitude(q, 0)
            q_high, q_low = high_and_low(q * tl.where(size > 0, 1.0 / size, 0.0)[None, :])
            row_scale = size * (scale / STEPS)

        maximum = tl.full([ROWS], float("-inf"), tl.float32)
        total = tl.zeros([ROWS], tl.float32)
        out = tl.zeros([DIM, ROWS], tl.float32)
        table = block_tables + tl.load(slots + sequence).to(tl.int64) * max_pages
        first = split * (SPLIT // BLOCK)
        last = tl.minimum(first + SPLIT // BLOCK, tl.cdiv(length, BLOCK))
        for index in range(first, last):
            page = tl.load(table + index * BLOCK // 64).to(tl.int64)
            entry = (page * kv_heads + kv_head) * 64
            row_of_page = index * BLOCK % 64 + j
            key_at = keys + entry * HEAD_DIM + row_of_page[:, None] * HEAD_DIM + i[None, :]
            value_at = values + entry * HEAD_DIM + i[:, None] * 64 + row_of_page[None, :]
            if DIM == HEAD_DIM:
                key = tl.load(key_at)  # [BLOCK, DIM]
                value = tl.load(value_at)  # [DIM, BLOCK]
            else:
                key = tl.load(key_at, mask=(i < HEAD_DIM)[None, :], other=0)
                value = tl.load(value_at, mask=(i < HEAD_DIM)[:, None], other=0)
            here = index * BLOCK + j
            # Past the length a page holds anything, NaN as well.
            if key_scales is None:
                scores = tl.dot(key, q) * scale
            else:
                key_scale = tl.load(key_scales + entry + row_of_page, mask=here < length, other=0.0)
                value_scale = tl.load(value_scales + entry + row_of_page, mask=here < length, other=0.0)
                scores = exact_dot(key, q_high, BLOCK, ROWS) * 256.0 + exact_dot(key, q_low, BLOCK, ROWS)
                scores *= key_scale[:, None] * row_scale[None, :]
            scores = tl.where(here[:, None] <= position[None, :], scores, float("-inf"))
            page_maximum = tl.max(scores, 0)
            p = tl.exp2(scores - softmax_shift(page_maximum)[None, :])
            largest = tl.maximum(maximum, page_maximum)
            shift = softmax_shift(largest)
            before, now = tl.exp2(maximum - shift), tl.exp2(page_maximum - shift)
            total = total * before + tl.sum(p, 0) * now
            if key_scales is None:
                value = tl.where((here < length)[None, :], value, 0.0)
                out = out * before[None, :] + tl.dot(value, p.to(value.dtype)) * now[None, :]
            else:
                page_weight = largest_magnitude(value_scale, 0)
                relative = value_scale * tl.where(page_weight > 0, 1.0 / page_weight, 0.0)
                p_high, p_low = high_and_low(p * relative[:, None])
                product = exact_dot(value, p_high, DIM, ROWS) * 256.0 + exact_dot(value, p_low, DIM, ROWS)
                out = out * before[None, :] + product * (now * (page_weight / STEPS))[None, :]
            maximum = largest

        part = split.to(tl.int64) * tl.num_programs(2) + sequence
        at = (part * limit + row // GROUP) * heads + head
        mask = used[:, None] & (i < HEAD_DIM)[None, :]
        tl.store(sums + at[:, None] * HEAD_DIM + i[None, :], tl.trans(out), mask=mask)
        tl.store(statistics + 2 * at, maximum, mask=used)
        tl.store(statistics + 2 * at + 1, total, mask=used)


@triton.jit(do_not_specialize=["heads", "limit"])
def attention_combine_kernel(
    sums,  # [splits, sequences, limit, heads, head_dim] float32
    statistics,  # [splits, sequences, limit, heads, 2] float32
    query_starts,  # [sequences + 1] int32
    lengths,  # [sequences] int32
    out,  # [tokens, heads, head_dim]
    heads,
    limit,
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,
    SPLIT: tl.constexpr,
    COMBINED: tl.constexpr,
):
    head = tl.program_id(0)
    query = tl.program_id(1)
    sequence = tl.program_id(2)
    start = tl.load(query_starts + sequence)
    count = tl.load(query_starts + sequence + 1) - start
    if (count <= limit) & (query < count):
        length = tl.load(lengths + sequence)
        i = tl.arange(0, DIM)
        maximum = tl.full([], float("-inf"), tl.float32)
        total = tl.zeros([], tl.float32)
        combined = tl.zeros([DIM], tl.float32)
        splits = tl.cdiv(length, SPLIT)
        for first in range(0, splits, COMBINED):
            split = first + tl.arange(0, COMBINED)
            at = ((split.to(tl.int64) * tl.num_programs(2) + sequence) * limit + query) * heads + head
            here = split < splits
            split_maximum = tl.load(statistics + 2 * at, mask=here, other=float("-inf"))
            split_total = tl.load(statistics + 2 * at + 1, mask=here, other=0.0)
            mask = here[:, None] & (i < HEAD_DIM)[None, :]
            part = tl.load(sums + at[:, None] * HEAD_DIM + i[None, :], mask=mask, other=0.0)
            largest = tl.maximum(maximum, tl.max(split_maximum, 0))
            shift = softmax_shift(largest)
            correction = tl.exp2(maximum - shift)
            weight = tl.exp2(split_maximum - shift)
            total = total * correction + tl.sum(weight * split_total, 0)
            combined = combined * correction + tl.sum(weight[:, None] * part, 0)
            maximum = largest
        at = ((start + query).to(tl.int64) * heads + head) * HEAD_DIM
        tl.store(out + at + i, (combined / total).to(out.dtype.element_ty), mask=i < HEAD_DIM)


def query_limit(group: int) -> int:
    """Queries of a sequence up to which the decode kernel takes them."""
    return max(FEW_ROWS // group, 1)


def decode_tile(head_dim: int, group: int, queries: int, target: str) -> tuple[dict[str, int], dict[str, int]]:
    """Constants and options of a launch."""
    chosen = configuration("attention_decode", target)
    # The narrow side of a product of the tensor cores: 8 on NVIDIA, 16 on AMD.
    narrowest = 16 if target.startswith("gfx") else 8
    tile = {
        "HEAD_DIM": head_dim,
        "DIM": triton.next_power_of_2(head_dim),
        "GROUP": group,
        "ROWS": max(triton.next_power_of_2(queries * group), narrowest),
        "SPLIT": SPLIT,
        "BLOCK": chosen["BLOCK"],
    }
    return tile, {"num_warps": chosen["num_warps"], "num_stages": chosen["num_stages"]}


def combine_tile(head_dim: int) -> Mapping[str, int]:
    return {"HEAD_DIM": head_dim, "DIM": triton.next_power_of_2(head_dim), "SPLIT": SPLIT, "COMBINED": COMBINED}
