"""Attention of many rows: blocks of them against all of their context. See attention.py."""

from __future__ import annotations

import triton
import triton.language as tl

from qwen3edge.kernels.attention_pages import attend
from qwen3edge.kernels.configuration import configuration


@triton.jit(do_not_specialize=["heads", "kv_heads", "max_pages", "limit"])
def attention_prefill_kernel(
    queries,  # [tokens, heads, head_dim]
    keys,  # [pages, kv_heads, 64, head_dim] int8, float16 or bfloat16
    key_scales,  # [pages, kv_heads, 64] float32; None: not int8
    values,  # [pages, kv_heads, head_dim, 64], likewise
    value_scales,  # [pages, kv_heads, 64] float32 or None
    block_tables,  # [sequences, max_pages] int32
    sequences,  # [runs] int32
    query_starts,  # [runs + 1] int32
    lengths,  # [runs] int32
    out,  # [tokens, heads, head_dim]
    scale,  # log2(e) / sqrt(head_dim)
    heads,
    kv_heads,
    max_pages,
    limit,  # runs of no more queries are not for this kernel
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    block = tl.program_id(0)
    kv_head = tl.program_id(1)
    run = tl.program_id(2)
    start = tl.load(query_starts + run)
    count = tl.load(query_starts + run + 1) - start
    if (count > limit) & (block * ROWS < count * GROUP):
        length = tl.load(lengths + run)
        row = block * ROWS + tl.arange(0, ROWS)
        used = row < count * GROUP
        at = ((start + row // GROUP).to(tl.int64) * heads + kv_head * GROUP + row % GROUP) * HEAD_DIM
        position = length - count + row // GROUP
        table = block_tables + tl.load(sequences + run).to(tl.int64) * max_pages
        last_query = tl.minimum((block * ROWS + ROWS - 1) // GROUP, count - 1)
        last = (length - count + last_query) // BLOCK + 1
        i = tl.arange(0, DIM)
        mask = used[:, None] & (i < HEAD_DIM)[None, :]
        q = tl.load(queries + at[:, None] + i[None, :], mask=mask, other=0.0)
        result, _, total = attend(
            q, position, keys, key_scales, values, value_scales, table, kv_head, kv_heads,
            length, 0, last, scale, HEAD_DIM, DIM, ROWS, BLOCK, False,
        )  # fmt: skip
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
