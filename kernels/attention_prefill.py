"""Attention of many rows: blocks of them against all of their context. See attention.py."""

from __future__ import annotations

import triton
import triton.language as tl

from qwen3edge.kernels.attention_pages import STEPS, exact_dot, high_and_low, softmax_shift
from qwen3edge.kernels.configuration import configuration
from qwen3edge.kernels.numerics import largest_magnitude


@triton.jit(do_not_specialize=["heads", "kv_heads", "max_pages", "limit"])
def attention_prefill_kernel(
    queries,  # [tokens, heads, head_dim]
    keys,  # [pages, kv_heads, 64, head_dim] int8, float16 or bfloat16
    key_scales,  # [pages, kv_heads, 64] float32; None: not int8
    values,  # [pages, kv_heads, head_dim, 64], likewise
    value_scales,  # [pages, kv_heads, 64] float32 or None
    block_tables,  # [slots, max_pages] int32
    slots,  # [sequences] int32
    query_starts,  # [sequences + 1] int32
    lengths,  # [sequences] int32
    out,  # [tokens, heads, head_dim]
    scale,  # log2(e) / sqrt(head_dim)
    heads,
    kv_heads,
    max_pages,
    limit,  # sequences of no more queries are not for this kernel
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    block = tl.program_id(0)
    kv_head = tl.program_id(1)
    sequence = tl.program_id(2)
    start = tl.load(query_starts + sequence)
    count = tl.load(query_starts + sequence + 1) - start
    if (count > limit) & (block * ROWS < count * GROUP):
        length = tl.load(lengths + sequence)
        row = block * ROWS + tl.arange(0, ROWS)
        used = row < count * GROUP
        at = ((start + row // GROUP).to(tl.int64) * heads + kv_head * GROUP + row % GROUP) * HEAD_DIM
        position = length - count + row // GROUP
        i = tl.arange(0, DIM)
        j = tl.arange(0, BLOCK)
        mask = used[:, None] & (i < HEAD_DIM)[None, :]
        q = tl.load(queries + at[:, None] + i[None, :], mask=mask, other=0.0)  # [ROWS, DIM]
        if key_scales is None:
            q = q.to(keys.dtype.element_ty)
        else:
            q = q.to(tl.float32)
            size = largest_magnitude(q, 1)
            q_high, q_low = high_and_low(q * tl.where(size > 0, 1.0 / size, 0.0)[:, None])
            row_scale = size * (scale / STEPS)

        maximum = tl.full([ROWS], float("-inf"), tl.float32)
        total = tl.zeros([ROWS], tl.float32)
        result = tl.zeros([ROWS, DIM], tl.float32)
        table = block_tables + tl.load(slots + sequence).to(tl.int64) * max_pages
        last_query = tl.minimum((block * ROWS + ROWS - 1) // GROUP, count - 1)
        last = (length - count + last_query) // BLOCK + 1
        for index in range(0, last):
            page = tl.load(table + index * BLOCK // 64).to(tl.int64)
            entry = (page * kv_heads + kv_head) * 64
            row_of_page = index * BLOCK % 64 + j
            key_at = keys + entry * HEAD_DIM + row_of_page[None, :] * HEAD_DIM + i[:, None]
            value_at = values + entry * HEAD_DIM + i[None, :] * 64 + row_of_page[:, None]
            if DIM == HEAD_DIM:
                key = tl.load(key_at)  # [DIM, BLOCK]
                value = tl.load(value_at)  # [BLOCK, DIM]
            else:
                key = tl.load(key_at, mask=(i < HEAD_DIM)[:, None], other=0)
                value = tl.load(value_at, mask=(i < HEAD_DIM)[None, :], other=0)
            here = index * BLOCK + j
            if key_scales is None:
                scores = tl.dot(q, key) * scale
            else:
                key_scale = tl.load(key_scales + entry + row_of_page, mask=here < length, other=0.0)
                value_scale = tl.load(value_scales + entry + row_of_page, mask=here < length, other=0.0)
                scores = exact_dot(q_high, key, ROWS, BLOCK) * 256.0 + exact_dot(q_low, key, ROWS, BLOCK)
                scores *= key_scale[None, :] * row_scale[:, None]
            scores = tl.where(here[None, :] <= position[:, None], scores, float("-inf"))
            page_maximum = tl.max(scores, 1)
            p = tl.exp2(scores - softmax_shift(page_maximum)[:, None])
            largest = tl.maximum(maximum, page_maximum)
            shift = softmax_shift(largest)
            before, now = tl.exp2(maximum - shift), tl.exp2(page_maximum - shift)
            total = total * before + tl.sum(p, 1) * now
            if key_scales is None:
                value = tl.where((here < length)[:, None], value, 0.0)
                result = result * before[:, None] + tl.dot(p.to(value.dtype), value) * now[:, None]
            else:
                page_weight = largest_magnitude(value_scale, 0)
                relative = value_scale * tl.where(page_weight > 0, 1.0 / page_weight, 0.0)
                p_high, p_low = high_and_low(p * relative[None, :])
                # One product after the other: both at once would not fit the registers.
                factor = (now * (page_weight / STEPS))[:, None]
                result = result * before[:, None] + exact_dot(p_high, value, ROWS, DIM) * (factor * 256.0)
                result += exact_dot(p_low, value, ROWS, DIM) * factor
            maximum = largest

        result = result / total[:, None]
        tl.store(out + at[:, None] + i[None, :], result.to(out.dtype.element_ty), mask=mask)


def prefill_tile(head_dim: int, group: int, target: str) -> tuple[dict[str, int], dict[str, int]]:
    chosen = configuration("attention_prefill", target)
    tile = {
        "HEAD_DIM": head_dim,
        "DIM": triton.next_power_of_2(head_dim),
        "GROUP": group,
        "ROWS": chosen["ROWS"],
        "BLOCK": chosen["BLOCK"],
    }
    return tile, {"num_warps": chosen["num_warps"], "num_stages": chosen["num_stages"]}
