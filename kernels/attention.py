"""Causal attention over the paged cache: a ragged batch of prompt chunks, decoded tokens and drafts to verify.

Few rows (decode): the tokens of a sequence times the heads that share a key head, 16 at most, are the narrow side of
both products, S^T = K q^T and O^T = V^T p^T, so that the cache is the wide operand of the tensor cores. The context is
split at fixed positions, every 256; a second kernel adds the splits up in order, so a result does not depend on the
batch. Many rows (prefill): S = q K^T and O = p V as usual, a block of rows against all of its context.

The cache goes into the tensor cores as it lies there. In 16 bits that is all. Int8 is neither converted nor unpacked:
what meets it, queries and weights, is split into two int8 of together 16 bits, high * 256 + low, and both products are
exact int32; with one int8 the tests' outliers cost an RMS error of 9e-2. Sums stay below 2^22, so they become float32
by an addition to a float's bits (I2F has a quarter of the throughput or less). The scales of keys multiply the scores,
those of values the weights. Weights are relative to the page's largest score, so that pages of small weights keep their
bits, too.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import triton
import triton.language as tl

from qwen3edge.kernels.arguments import WORKING_TYPES, expect
from qwen3edge.kernels.configuration import configuration, target_of
from qwen3edge.kernels.errors import KernelConfigurationError, KernelShapeError, KernelTypeError
from qwen3edge.kernels.kv_cache import PAGE, KvCache, expect_cache
from qwen3edge.kernels.numerics import largest_magnitude
from qwen3edge.kernels.specialization import ModelShape, Specialization

SPLIT = 256  # positions: 16 programs for 512 positions of 8 key heads, as many as the smallest device has SMs
FEW_ROWS = 16  # the narrowest side that all tensor cores take; more rows are a block of the prefill kernel
COMBINED = 8  # splits added up at once

_LOG2_E = tl.constexpr(1.4426950408889634)
_STEPS = tl.constexpr(32512.0)  # 127 * 256: steps of a query or weight up to the largest
_ROUNDING = tl.constexpr(12582912.0)  # 1.5 * 2^23: added to a float32 below 2^22, its last bits are the integer
_ROUNDING_BITS = tl.constexpr(0x4B400000)


@triton.jit
def _high_and_low(x):
    """x in -1..1, float32, as int8 high * 256 + low in steps of 1/32512."""
    steps = (x * _STEPS + _ROUNDING).to(tl.int32, bitcast=True) - _ROUNDING_BITS
    high = (steps + 128) >> 8
    return high.to(tl.int8), (steps - (high << 8)).to(tl.int8)


@triton.jit
def _dot(a, b, M: tl.constexpr, N: tl.constexpr):
    """The exact product of int8 as float32 [M, N]; its sums must stay below 2^22."""
    sums = tl.dot(a, b, tl.full([M, N], _ROUNDING_BITS, tl.int32), out_dtype=tl.int32)
    return sums.to(tl.float32, bitcast=True) - _ROUNDING


@triton.jit
def _softmax_shift(maximum):
    """What is subtracted from scores: not -infinity of a row that sees nothing yet, which would give NaN."""
    return tl.where(maximum == float("-inf"), 0.0, maximum)


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
            q_high, q_low = _high_and_low(q * tl.where(size > 0, 1.0 / size, 0.0)[None, :])
            row_scale = size * (scale / _STEPS)

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
                scores = _dot(key, q_high, BLOCK, ROWS) * 256.0 + _dot(key, q_low, BLOCK, ROWS)
                scores *= key_scale[:, None] * row_scale[None, :]
            scores = tl.where(here[:, None] <= position[None, :], scores, float("-inf"))
            page_maximum = tl.max(scores, 0)
            p = tl.exp2(scores - _softmax_shift(page_maximum)[None, :])
            largest = tl.maximum(maximum, page_maximum)
            shift = _softmax_shift(largest)
            before, now = tl.exp2(maximum - shift), tl.exp2(page_maximum - shift)
            total = total * before + tl.sum(p, 0) * now
            if key_scales is None:
                value = tl.where((here < length)[None, :], value, 0.0)
                out = out * before[None, :] + tl.dot(value, p.to(value.dtype)) * now[None, :]
            else:
                page_weight = largest_magnitude(value_scale, 0)
                relative = value_scale * tl.where(page_weight > 0, 1.0 / page_weight, 0.0)
                p_high, p_low = _high_and_low(p * relative[:, None])
                product = _dot(value, p_high, DIM, ROWS) * 256.0 + _dot(value, p_low, DIM, ROWS)
                out = out * before[None, :] + product * (now * (page_weight / _STEPS))[None, :]
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
            shift = _softmax_shift(largest)
            correction = tl.exp2(maximum - shift)
            weight = tl.exp2(split_maximum - shift)
            total = total * correction + tl.sum(weight * split_total, 0)
            combined = combined * correction + tl.sum(weight[:, None] * part, 0)
            maximum = largest
        at = ((start + query).to(tl.int64) * heads + head) * HEAD_DIM
        tl.store(out + at + i, (combined / total).to(out.dtype.element_ty), mask=i < HEAD_DIM)


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
            q_high, q_low = _high_and_low(q * tl.where(size > 0, 1.0 / size, 0.0)[:, None])
            row_scale = size * (scale / _STEPS)

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
                scores = _dot(q_high, key, ROWS, BLOCK) * 256.0 + _dot(q_low, key, ROWS, BLOCK)
                scores *= key_scale[None, :] * row_scale[:, None]
            scores = tl.where(here[None, :] <= position[:, None], scores, float("-inf"))
            page_maximum = tl.max(scores, 1)
            p = tl.exp2(scores - _softmax_shift(page_maximum)[:, None])
            largest = tl.maximum(maximum, page_maximum)
            shift = _softmax_shift(largest)
            before, now = tl.exp2(maximum - shift), tl.exp2(page_maximum - shift)
            total = total * before + tl.sum(p, 1) * now
            if key_scales is None:
                value = tl.where((here < length)[:, None], value, 0.0)
                result = result * before[:, None] + tl.dot(p.to(value.dtype), value) * now[:, None]
            else:
                page_weight = largest_magnitude(value_scale, 0)
                relative = value_scale * tl.where(page_weight > 0, 1.0 / page_weight, 0.0)
                p_high, p_low = _high_and_low(p * relative[None, :])
                # One product after the other: both at once would not fit the registers.
                factor = (now * (page_weight / _STEPS))[:, None]
                result = result * before[:, None] + _dot(p_high, value, ROWS, DIM) * (factor * 256.0)
                result += _dot(p_low, value, ROWS, DIM) * factor
            maximum = largest

        result = result / total[:, None]
        tl.store(out + at[:, None] + i[None, :], result.to(out.dtype.element_ty), mask=mask)


def attention(
    queries: torch.Tensor,
    cache: KvCache,
    block_tables: torch.Tensor,
    slots: torch.Tensor,
    query_starts: torch.Tensor,
    lengths: torch.Tensor,
    max_queries: int,
    max_length: int,
) -> torch.Tensor:
    """Every query attends to its sequence up to itself; returns [tokens, heads, head_dim] in the type of queries.

    queries: [tokens, heads, head_dim] float16 or bfloat16, the last of their sequences, whose entries are in the cache
    already; slots: [sequences] int32, rows of block_tables; query_starts: [sequences + 1] int32, the tokens of sequence
    i are query_starts[i] .. query_starts[i + 1] - 1 (none: a sequence that pads the batch); lengths: [sequences] int32,
    positions in the cache, these queries among them. max_queries and max_length bound them on the host, where grids are
    made; a bound that is too large costs empty programs. Tokens of no sequence are left undefined.
    Raises KernelTypeError, KernelShapeError, KernelConfigurationError.
    """
    return torch.ops.qwen3edge.attention(
        queries, *cache, block_tables, slots, query_starts, lengths, max_queries, max_length
    )


@torch.library.custom_op("qwen3edge::attention", mutates_args=())
def _attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    key_scales: torch.Tensor | None,
    values: torch.Tensor,
    value_scales: torch.Tensor | None,
    block_tables: torch.Tensor,
    slots: torch.Tensor,
    query_starts: torch.Tensor,
    lengths: torch.Tensor,
    max_queries: int,
    max_length: int,
) -> torch.Tensor:
    expect("queries", queries, WORKING_TYPES, (None, None, None))
    kv_heads, head_dim = expect_cache(KvCache(keys, key_scales, values, value_scales), block_tables, queries)
    if keys.dtype == torch.bfloat16 and queries.dtype != torch.bfloat16:
        # They meet as bfloat16: three bits of the queries, and much of large scores, would be lost.
        raise KernelTypeError(f"queries: expected torch.bfloat16 for such a cache, found {queries.dtype}")
    tokens, heads, found_dim = queries.shape
    if found_dim != head_dim or heads == 0 or heads % kv_heads:
        raise KernelShapeError(
            f"queries: expected [any, a multiple of {kv_heads}, {head_dim}], found {list(queries.shape)}"
        )
    expect("slots", slots, (torch.int32,), (None,), queries)
    sequences = slots.shape[0]
    expect("query_starts", query_starts, (torch.int32,), (sequences + 1,), queries)
    expect("lengths", lengths, (torch.int32,), (sequences,), queries)
    if not 0 <= max_length <= block_tables.shape[1] * PAGE:
        raise KernelConfigurationError(
            f"max_length: expected at most {block_tables.shape[1]} pages of {PAGE} positions, found {max_length}"
        )
    if not 0 <= max_queries <= max_length:
        raise KernelConfigurationError(f"max_queries: expected 0 to max_length ({max_length}), found {max_queries}")
    out = torch.empty_like(queries)
    if tokens == 0 or sequences == 0 or max_queries == 0:
        return out
    group, limit = heads // kv_heads, _limit(heads // kv_heads)
    scale = _LOG2_E.value / head_dim**0.5
    cached = (keys, key_scales, values, value_scales)
    place = (block_tables, slots, query_starts, lengths)
    few = min(max_queries, limit)
    splits = triton.cdiv(max_length, SPLIT)
    sums = queries.new_empty((splits, sequences, few, heads, head_dim), dtype=torch.float32)
    statistics = queries.new_empty((splits, sequences, few, heads, 2), dtype=torch.float32)
    target = target_of(queries.device)
    tile, options = _decode_tile(head_dim, group, few, target)
    attention_decode_kernel[(splits, kv_heads, sequences)](
        queries, *cached, *place, sums, statistics, scale, heads, kv_heads, block_tables.shape[1], few,
        **tile, **options, enable_fp_fusion=True,
    )  # fmt: skip
    attention_combine_kernel[(heads, few, sequences)](
        sums, statistics, query_starts, lengths, out, heads, few,
        **_combine_tile(head_dim), num_warps=1, num_stages=1, enable_fp_fusion=True,
    )  # fmt: skip
    if max_queries > limit:
        tile, options = _prefill_tile(head_dim, group, target)
        attention_prefill_kernel[(triton.cdiv(max_queries * group, tile["ROWS"]), kv_heads, sequences)](
            queries, *cached, *place, out, scale, heads, kv_heads, block_tables.shape[1], limit,
            **tile, **options, enable_fp_fusion=True,
        )  # fmt: skip
    return out


@_attention.register_fake
def _(
    queries,
    keys,
    key_scales,
    values,
    value_scales,
    block_tables,
    slots,
    query_starts,
    lengths,
    max_queries,
    max_length,
):
    return torch.empty_like(queries)


def _limit(group: int) -> int:
    """Queries of a sequence up to which the decode kernel takes them."""
    return max(FEW_ROWS // group, 1)


def _decode_tile(head_dim: int, group: int, queries: int, target: str) -> tuple[dict[str, int], dict[str, int]]:
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


def _combine_tile(head_dim: int) -> Mapping[str, int]:
    return {"HEAD_DIM": head_dim, "DIM": triton.next_power_of_2(head_dim), "SPLIT": SPLIT, "COMBINED": COMBINED}


def _prefill_tile(head_dim: int, group: int, target: str) -> tuple[dict[str, int], dict[str, int]]:
    chosen = configuration("attention_prefill", target)
    tile = {
        "HEAD_DIM": head_dim,
        "DIM": triton.next_power_of_2(head_dim),
        "GROUP": group,
        "ROWS": chosen["ROWS"],
        "BLOCK": chosen["BLOCK"],
    }
    return tile, {"num_warps": chosen["num_warps"], "num_stages": chosen["num_stages"]}


def specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """Decode of one token after 4096 positions, its combination, and a prompt of 512 tokens; int8 and bfloat16."""
    wide = _specializations(shape, target, "bf16")
    return _specializations(shape, target, "i8") + [found for found in wide if "combine" not in found.name]


def _specializations(shape: ModelShape, target: str, cached: str) -> list[Specialization]:
    group, context, prompt, dim = shape.heads // shape.kv_heads, 4096, 512, shape.head_dim
    types = {
        **dict.fromkeys(("queries", "out"), "*bf16"),
        **dict.fromkeys(("keys", "values"), f"*{cached}"),
        **dict.fromkeys(("key_scales", "value_scales", "sums", "statistics"), "*fp32"),
        **dict.fromkeys(("block_tables", "slots", "query_starts", "lengths"), "*i32"),
        **dict.fromkeys(("heads", "kv_heads", "max_pages", "limit"), "i32"),
        "scale": "fp32",
    }

    absent = {} if cached == "i8" else {"key_scales": None, "value_scales": None}

    def of(name, kernel, tile, **rest):
        constants = tile | {name: None for name in absent if name in kernel.arg_names}
        signature = {key: types[key] for key in kernel.arg_names if key not in constants}
        return Specialization(
            name=name, kernel=kernel, signature=signature, constexprs=constants, divisible_by_16=(), **rest
        )

    entry = 2 * shape.kv_heads * (2 * dim if absent else dim + 4)  # bytes of a position
    vectors = shape.heads * dim
    decode, decode_options = _decode_tile(dim, group, 1, target)
    prefill, prefill_options = _prefill_tile(dim, group, target)
    splits = context // SPLIT
    what = f"{shape.heads} heads of {dim} on {shape.kv_heads}"
    return [
        of(
            f"attention_decode_bf16_{cached}_{dim}x{group}",
            attention_decode_kernel,
            decode,
            **decode_options,
            grid=(f"(max_length + {SPLIT - 1}) / {SPLIT}", "kv_heads", "sequences"),
            shape=f"{what}, 1 token after {context}",
            bytes_moved=context * entry + 2 * vectors + 4 * splits * (vectors + 2 * shape.heads),
            operations=4 * context * vectors,
            weight_arguments=("keys", "values"),
        ),
        of(
            f"attention_combine_bf16_{dim}",
            attention_combine_kernel,
            _combine_tile(dim),
            num_warps=1,
            num_stages=1,
            grid=("heads", "limit", "sequences"),
            shape=f"{what}, 1 token, {splits} splits",
            bytes_moved=4 * splits * (vectors + 2 * shape.heads) + 2 * vectors,
            operations=2 * splits * vectors,
        ),
        of(
            f"attention_prefill_bf16_{cached}_{dim}x{group}",
            attention_prefill_kernel,
            prefill,
            **prefill_options,
            grid=(
                f"(max_queries * (heads / kv_heads) + {prefill['ROWS'] - 1}) / {prefill['ROWS']}",
                "kv_heads",
                "sequences",
            ),
            shape=f"{what}, {prompt} tokens",
            bytes_moved=prompt * (entry + 4 * vectors),
            operations=2 * prompt * (prompt + 1) * vectors,
            weight_arguments=("keys", "values"),
        ),
    ]
