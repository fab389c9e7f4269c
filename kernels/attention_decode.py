"""Attention of few rows: splits of the context, whose sum the last one of them makes. See attention.py."""

from __future__ import annotations

import triton
import triton.language as tl

from qwen3edge.kernels.attention_pages import attend, softmax_shift
from qwen3edge.kernels.configuration import configuration

SPLIT = 256  # positions: 16 programs for 512 positions of 8 key heads, as many as the smallest device has SMs
FEW_ROWS = 16  # the narrowest side that all tensor cores take; more rows are a block of the prefill kernel
_COMBINED_ROWS = 32  # of partial sums that are added up at once: 32 values a thread for 128 dimensions


@triton.jit(do_not_specialize=["heads", "kv_heads", "max_pages", "limit"])
def attention_decode_kernel(
    queries,  # [tokens, heads, head_dim]
    keys,  # [pages, kv_heads, 64, head_dim] int8, float16 or bfloat16
    key_scales,  # [pages, kv_heads, 64] float32; None: not int8
    values,  # [pages, kv_heads, head_dim, 64], likewise
    value_scales,  # [pages, kv_heads, 64] float32 or None
    block_tables,  # [sequences, max_pages] int32
    sequences,  # [runs] int32
    query_starts,  # [runs + 1] int32
    lengths,  # [runs] int32
    counters,  # [runs * kv_heads] int32: splits that are done, 0 before and after
    to,  # [tokens, heads, head_dim]
    sums,  # [splits, runs, limit, heads, head_dim] float32
    statistics,  # [splits, runs, limit, heads, 2] float32: maximum, sum of the weights
    scale,  # log2(e) / sqrt(head_dim)
    heads,
    kv_heads,
    max_pages,
    limit,  # runs of more queries are not for this kernel
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,  # HEAD_DIM, rounded up to a power of two
    GROUP: tl.constexpr,  # heads / kv_heads
    ROWS: tl.constexpr,  # at least limit * GROUP
    SPLIT: tl.constexpr,
    BLOCK: tl.constexpr,  # positions at once: a page or half of one
    GROUP_ROWS: tl.constexpr,  # GROUP, rounded up to a power of two
    COMBINED: tl.constexpr,  # splits added up at once
):
    split = tl.program_id(0)
    kv_head = tl.program_id(1)
    run = tl.program_id(2)
    start = tl.load(query_starts + run)
    count = tl.load(query_starts + run + 1) - start
    length = tl.load(lengths + run)
    if (count > 0) & (count <= limit) & (split * SPLIT < length):
        row = tl.arange(0, ROWS)
        used = row < count * GROUP
        token = (start + row // GROUP).to(tl.int64)
        head = kv_head * GROUP + row % GROUP
        position = length - count + row // GROUP  # of the query
        table = block_tables + tl.load(sequences + run).to(tl.int64) * max_pages
        first = split * (SPLIT // BLOCK)
        last = tl.minimum(first + SPLIT // BLOCK, tl.cdiv(length, BLOCK))
        query_at = (token * heads + head) * HEAD_DIM
        i = tl.arange(0, DIM)
        q_mask = (i < HEAD_DIM)[:, None] & used[None, :]
        q = tl.load(queries + query_at[None, :] + i[:, None], mask=q_mask, other=0.0)
        out, maximum, total = attend(
            q, position, keys, key_scales, values, value_scales, table, kv_head, kv_heads,
            length, first, last, scale, HEAD_DIM, DIM, ROWS, BLOCK, True,
        )  # fmt: skip
        finish(
            out, maximum, total, used, row, start, count, length, split, kv_head, run, counters, to, sums, statistics,
            heads, kv_heads, limit, HEAD_DIM, DIM, GROUP, SPLIT, GROUP_ROWS, COMBINED,
        )  # fmt: skip


@triton.jit
def finish(
    out, maximum, total, used, row, start, count, length, split, kv_head, run, counters, to, sums, statistics,
    heads, kv_heads, limit,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, GROUP: tl.constexpr, SPLIT: tl.constexpr,
    GROUP_ROWS: tl.constexpr, COMBINED: tl.constexpr,
):  # fmt: skip
    """Writes what a split gave; the last one of a run and key head adds them up."""
    i = tl.arange(0, DIM)
    mask = used[:, None] & (i < HEAD_DIM)[None, :]
    splits = tl.cdiv(length, SPLIT)
    if splits == 1:
        query_at = ((start + row // GROUP).to(tl.int64) * heads + kv_head * GROUP + row % GROUP) * HEAD_DIM
        result = tl.trans(out) / total[:, None]
        tl.store(to + query_at[:, None] + i[None, :], result.to(to.dtype.element_ty), mask=mask)
    else:
        runs = tl.num_programs(2)
        head = kv_head * GROUP + row % GROUP
        at = ((split.to(tl.int64) * runs + run) * limit + row // GROUP) * heads + head
        tl.store(sums + at[:, None] * HEAD_DIM + i[None, :], tl.trans(out), mask=mask)
        tl.store(statistics + 2 * at, maximum, mask=used)
        tl.store(statistics + 2 * at + 1, total, mask=used)
        # All that this program stores is there before it counts as done: for others once they have seen the count.
        tl.debug_barrier()
        counter = counters + run * kv_heads + kv_head
        if tl.atomic_add(counter, 1, sem="acq_rel", scope="gpu") == splits - 1:
            tl.store(counter, 0)  # for the next launch
            for query in range(count):
                _combine(
                    sums, statistics, to, splits, runs, run, query, limit, heads, kv_head * GROUP, start,
                    HEAD_DIM, DIM, GROUP, GROUP_ROWS, COMBINED,
                )  # fmt: skip


@triton.jit
def _combine(
    sums, statistics, to, splits, runs, run, query, limit, heads, first_head, start,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, GROUP: tl.constexpr, GROUP_ROWS: tl.constexpr, COMBINED: tl.constexpr,
):  # fmt: skip
    """Adds up the splits of a token's heads in order, some at a time; a tile does not depend on the batch."""
    i = tl.arange(0, DIM)
    row = tl.arange(0, GROUP_ROWS)
    used = row < GROUP
    maximum = tl.full([GROUP_ROWS], float("-inf"), tl.float32)
    total = tl.zeros([GROUP_ROWS], tl.float32)
    combined = tl.zeros([GROUP_ROWS, DIM], tl.float32)
    for first in range(0, splits, COMBINED):
        split = first + tl.arange(0, COMBINED)
        at = (((split.to(tl.int64) * runs + run) * limit + query) * heads + first_head)[:, None] + row[None, :]
        here = (split < splits)[:, None] & used[None, :]
        split_maximum = tl.load(statistics + 2 * at, mask=here, other=float("-inf"))  # [COMBINED, GROUP_ROWS]
        split_total = tl.load(statistics + 2 * at + 1, mask=here, other=0.0)
        mask = here[:, :, None] & (i < HEAD_DIM)[None, None, :]
        part = tl.load(sums + at[:, :, None] * HEAD_DIM + i[None, None, :], mask=mask, other=0.0)
        largest = tl.maximum(maximum, tl.max(split_maximum, 0))
        shift = softmax_shift(largest)
        correction = tl.exp2(maximum - shift)
        weight = tl.exp2(split_maximum - shift[None, :])
        total = total * correction + tl.sum(weight * split_total, 0)
        combined = combined * correction[:, None] + tl.sum(weight[:, :, None] * part, 0)
        maximum = largest
    at = ((start + query).to(tl.int64) * heads + first_head + row) * HEAD_DIM
    result = (combined / total[:, None]).to(to.dtype.element_ty)
    tl.store(to + at[:, None] + i[None, :], result, mask=used[:, None] & (i < HEAD_DIM)[None, :])


def query_limit(group: int) -> int:
    """Queries of a run up to which the decode kernel takes them."""
    return max(FEW_ROWS // group, 1)


def decode_tile(head_dim: int, group: int, queries: int, target: str) -> tuple[dict[str, int], dict[str, int]]:
    """Constants and options of a launch."""
    chosen = configuration("attention_decode", target)
    # The narrow side of a product of the tensor cores: 8 on NVIDIA, 16 on AMD.
    rows = triton.next_power_of_2(group)
    narrowest = 16 if target.startswith("gfx") else 8
    tile = {
        "HEAD_DIM": head_dim,
        "DIM": triton.next_power_of_2(head_dim),
        "GROUP": group,
        "ROWS": max(triton.next_power_of_2(queries * group), narrowest),
        "SPLIT": SPLIT,
        "BLOCK": chosen["BLOCK"],
        "GROUP_ROWS": rows,
        "COMBINED": max(_COMBINED_ROWS // rows, 1),
    }
    return tile, {"num_warps": chosen["num_warps"], "num_stages": chosen["num_stages"]}
