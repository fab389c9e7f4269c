"""One decoded token of each sequence, from its projections to what it attends to, in one launch.

What rope_cache.py and attention_decode.py do one after the other: every program rotates the few queries of its key head
again, and the one whose split the token's own position lies in writes the token's key and value before it reads them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from qwen3edge.kernels.arguments import expect
from qwen3edge.kernels.attention_decode import SPLIT, decode_tile, finish
from qwen3edge.kernels.attention_pages import LOG2_E, attend
from qwen3edge.kernels.configuration import target_of
from qwen3edge.kernels.errors import KernelConfigurationError, KernelShapeError, KernelTypeError
from qwen3edge.kernels.kv_cache import PAGE, KvCache
from qwen3edge.kernels.matmul_plan import qkv_split_counts
from qwen3edge.kernels.numerics import largest_magnitude, quants_of, scale_of
from qwen3edge.kernels.rope_cache import expect_projected, projected
from qwen3edge.kernels.specialization import ModelShape, Specialization


@triton.jit
def _rotated(
    row, stride, bias, weight, cos_sin, head, used, position, epsilon,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, PARTS: tl.constexpr, WORKING: tl.constexpr,
):  # fmt: skip
    """Heads of a token's row: bias, norm and rotation, float32 [DIM, heads]; zeros where there is nothing."""
    HALF: tl.constexpr = HEAD_DIM // 2
    i = tl.arange(0, DIM)
    other = tl.where(i < HALF, i + HALF, i - HALF)  # what a dimension is rotated with
    wanted = i < HEAD_DIM
    there = wanted[:, None] & used[None, :]
    at = head[None, :] * HEAD_DIM + i[:, None]
    other_at = head[None, :] * HEAD_DIM + other[:, None]
    x = projected(row + at, stride, there, PARTS, WORKING)
    y = projected(row + other_at, stride, there, PARTS, WORKING)
    if bias is not None:
        x += tl.load(bias + at, mask=there, other=0.0).to(tl.float32)
        y += tl.load(bias + other_at, mask=there, other=0.0).to(tl.float32)
    if weight is not None:
        inverse = tl.rsqrt(tl.sum(x * x, 0) / HEAD_DIM + epsilon)[None, :]
        of_x = tl.load(weight + i, mask=wanted, other=0.0).to(tl.float32)[:, None]
        of_y = tl.load(weight + other, mask=wanted, other=0.0).to(tl.float32)[:, None]
        # Rounded where rope_cache.py rounds.
        x = ((x * inverse).to(WORKING).to(tl.float32) * of_x).to(WORKING).to(tl.float32)
        y = ((y * inverse).to(WORKING).to(tl.float32) * of_y).to(WORKING).to(tl.float32)
    angle = cos_sin + position.to(tl.int64) * HEAD_DIM + tl.where(i < HALF, i, i - HALF)
    c = tl.load(angle, mask=wanted, other=0.0)[:, None]
    s = tl.load(angle + HALF, mask=wanted, other=0.0)[:, None]
    return x * c + y * tl.where((i < HALF)[:, None], -s, s)


@triton.jit(do_not_specialize=["tokens", "heads", "kv_heads", "max_pages"])
def attention_step_kernel(
    qkv,  # [PARTS, tokens, heads + 2 * kv_heads, head_dim] float32, to be added up
    bias,  # [heads + 2 * kv_heads, head_dim] or None
    query_weight,  # [head_dim] or None: no QK-norm
    key_weight,  # [head_dim] or None
    cos_sin,  # [positions, head_dim] float32
    keys,  # the cache, as the other kernels take it
    key_scales,
    values,
    value_scales,
    block_tables,  # [sequences, max_pages] int32
    sequences,  # [runs] int32
    query_starts,  # [runs + 1] int32
    lengths,  # [runs] int32
    counters,  # [runs * kv_heads] int32
    to,  # [tokens, heads, head_dim]
    sums,  # [splits, runs, 1, heads, head_dim] float32
    statistics,  # [splits, runs, 1, heads, 2] float32
    scale,  # log2(e) / sqrt(head_dim)
    epsilon,
    tokens,
    heads,
    kv_heads,
    max_pages,
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK: tl.constexpr,
    GROUP_ROWS: tl.constexpr,
    COMBINED: tl.constexpr,
    PARTS: tl.constexpr,
):
    split = tl.program_id(0)
    kv_head = tl.program_id(1)
    run = tl.program_id(2)
    start = tl.load(query_starts + run)
    count = tl.load(query_starts + run + 1) - start
    length = tl.load(lengths + run)
    if (count == 1) & (split * SPLIT < length):
        WORKING: tl.constexpr = to.dtype.element_ty
        row = tl.arange(0, ROWS)
        used = row < GROUP
        newest = length - 1
        row_length = (heads + 2 * kv_heads) * HEAD_DIM
        token_row = qkv + start.to(tl.int64) * row_length
        stride = tokens.to(tl.int64) * row_length
        table = block_tables + tl.load(sequences + run).to(tl.int64) * max_pages
        q = _rotated(
            token_row, stride, bias, query_weight, cos_sin, kv_head * GROUP + row, used, newest, epsilon,
            HEAD_DIM, DIM, PARTS, WORKING,
        ).to(WORKING)  # fmt: skip
        if (split + 1) * SPLIT >= length:
            i = tl.arange(0, DIM)
            one = tl.arange(0, 1)
            inside = (i < HEAD_DIM)[:, None] & (one == 0)[None, :]
            page = tl.load(table + newest // 64).to(tl.int64)
            entry = (page * kv_heads + kv_head) * 64
            place = newest % 64
            key = _rotated(
                token_row, stride, bias, key_weight, cos_sin, heads + kv_head + one, one == 0, newest, epsilon,
                HEAD_DIM, DIM, PARTS, WORKING,
            )  # fmt: skip
            at = (heads + kv_heads + kv_head) * HEAD_DIM + i[:, None]
            value = projected(token_row + at, stride, inside, PARTS, WORKING)
            if bias is not None:
                value += tl.load(bias + at, mask=inside, other=0.0).to(tl.float32)
            to_key = keys + (entry + place) * HEAD_DIM + i[:, None]
            to_value = values + entry * HEAD_DIM + i[:, None] * 64 + place
            if key_scales is None:
                tl.store(to_key, key.to(keys.dtype.element_ty), mask=inside)
                tl.store(to_value, value.to(values.dtype.element_ty), mask=inside)
            else:
                key_scale, key_inverse = scale_of(largest_magnitude(key, 0))
                value_scale, value_inverse = scale_of(largest_magnitude(value, 0))
                tl.store(to_key, quants_of(key, key_inverse[None, :]), mask=inside)
                tl.store(to_value, quants_of(value, value_inverse[None, :]), mask=inside)
                tl.store(key_scales + entry + place + one, key_scale)
                tl.store(value_scales + entry + place + one, value_scale)
            tl.debug_barrier()  # other warps read it
        first = split * (SPLIT // BLOCK)
        last = tl.minimum(first + SPLIT // BLOCK, tl.cdiv(length, BLOCK))
        out, maximum, total = attend(
            q, newest + row * 0, keys, key_scales, values, value_scales, table, kv_head, kv_heads,
            length, first, last, scale, HEAD_DIM, DIM, ROWS, BLOCK, True,
        )  # fmt: skip
        finish(
            out, maximum, total, used, row % GROUP, start, count, length, split, kv_head, run, counters, to, sums,
            statistics, heads, kv_heads, 1, HEAD_DIM, DIM, GROUP, SPLIT, GROUP_ROWS, COMBINED,
        )  # fmt: skip


def attention_step(
    qkv: torch.Tensor,
    bias: torch.Tensor | None,
    query_weight: torch.Tensor | None,
    key_weight: torch.Tensor | None,
    epsilon: float,
    cos_sin: torch.Tensor,
    cache: KvCache,
    block_tables: torch.Tensor,
    sequences: torch.Tensor,
    query_starts: torch.Tensor,
    lengths: torch.Tensor,
    counters: torch.Tensor,
    max_length: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    """rope_cache and attention for runs of one token, or none: [tokens, heads, head_dim] in `dtype`.

    Arguments as of those two; lengths: [runs] int32, positions in the cache with the token, which is the last. Tokens
    of no run are left undefined. Raises KernelTypeError, KernelShapeError, KernelConfigurationError.
    """
    return torch.ops.qwen3edge.attention_step(
        qkv, bias, query_weight, key_weight, epsilon, cos_sin, *cache, block_tables, sequences, query_starts, lengths,
        counters, max_length, dtype,
    )  # fmt: skip


@torch.library.custom_op(
    "qwen3edge::attention_step", mutates_args=("keys", "key_scales", "values", "value_scales", "counters")
)
def _attention_step(
    qkv: torch.Tensor,
    bias: torch.Tensor | None,
    query_weight: torch.Tensor | None,
    key_weight: torch.Tensor | None,
    epsilon: float,
    cos_sin: torch.Tensor,
    keys: torch.Tensor,
    key_scales: torch.Tensor | None,
    values: torch.Tensor,
    value_scales: torch.Tensor | None,
    block_tables: torch.Tensor,
    sequences: torch.Tensor,
    query_starts: torch.Tensor,
    lengths: torch.Tensor,
    counters: torch.Tensor,
    max_length: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    cache = KvCache(keys, key_scales, values, value_scales)
    kv_heads, head_dim = expect_projected(
        qkv, bias, query_weight, key_weight, epsilon, cos_sin, cache, block_tables, dtype
    )
    if keys.dtype == torch.bfloat16 and dtype != torch.bfloat16:
        raise KernelTypeError(f"dtype: expected torch.bfloat16 for such a cache, found {dtype}")
    parts, tokens, columns = qkv.shape
    heads = columns // head_dim - 2 * kv_heads
    expect("sequences", sequences, (torch.int32,), (None,), qkv)
    runs = sequences.shape[0]
    expect("query_starts", query_starts, (torch.int32,), (runs + 1,), qkv)
    expect("lengths", lengths, (torch.int32,), (runs,), qkv)
    expect("counters", counters, (torch.int32,), (None,), qkv)
    if len(counters) < runs * kv_heads:
        raise KernelShapeError(f"counters: expected {runs} runs times {kv_heads} heads, found {len(counters)}")
    if not 0 <= max_length <= block_tables.shape[1] * PAGE:
        raise KernelConfigurationError(
            f"max_length: expected at most {block_tables.shape[1]} pages of {PAGE} positions, found {max_length}"
        )
    out = qkv.new_empty((tokens, heads, head_dim), dtype=dtype)
    if tokens == 0 or runs == 0 or max_length == 0:
        return out
    splits = triton.cdiv(max_length, SPLIT)
    sums = qkv.new_empty((splits, runs, 1, heads, head_dim))
    statistics = qkv.new_empty((splits, runs, 1, heads, 2))
    tile, options = decode_tile(head_dim, heads // kv_heads, 1, target_of(qkv.device))
    attention_step_kernel[(splits, kv_heads, runs)](
        qkv, bias, query_weight, key_weight, cos_sin, keys, key_scales, values, value_scales, block_tables, sequences,
        query_starts, lengths, counters, out, sums, statistics, LOG2_E / head_dim**0.5, epsilon, tokens, heads,
        kv_heads, block_tables.shape[1], PARTS=parts, **tile, **options, enable_fp_fusion=True,
    )  # fmt: skip
    return out


@_attention_step.register_fake
def _(
    qkv,
    bias,
    query_weight,
    key_weight,
    epsilon,
    cos_sin,
    keys,
    key_scales,
    values,
    value_scales,
    block_tables,
    sequences,
    query_starts,
    lengths,
    counters,
    max_length,
    dtype,
):
    head_dim = keys.shape[3]
    return qkv.new_empty((qkv.shape[1], qkv.shape[2] // head_dim - 2 * keys.shape[1], head_dim), dtype=dtype)


def specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """After 4096 positions, to int8 and to bfloat16, of as many parts as the model's products have."""
    counts = sorted({1} | qkv_split_counts(shape, target))
    return [_specialization(shape, target, cached, parts) for cached in ("i8", "bf16") for parts in counts]


def _specialization(shape: ModelShape, target: str, cached: str, parts: int) -> Specialization:
    group, context, dim = shape.heads // shape.kv_heads, 4096, shape.head_dim
    tile, options = decode_tile(dim, group, 1, target)
    absent = {} if cached == "i8" else {"key_scales": None, "value_scales": None}
    types = {
        "to": "*bf16",
        **dict.fromkeys(("qkv", "query_weight", "key_weight", "cos_sin", "key_scales", "value_scales"), "*fp32"),
        **dict.fromkeys(("sums", "statistics"), "*fp32"),
        **dict.fromkeys(("keys", "values"), f"*{cached}"),
        **dict.fromkeys(("block_tables", "sequences", "query_starts", "lengths", "counters"), "*i32"),
        **dict.fromkeys(("scale", "epsilon"), "fp32"),
        **dict.fromkeys(("tokens", "heads", "kv_heads", "max_pages"), "i32"),
    }
    constants = {"bias": None, "PARTS": parts, **absent, **tile}
    entry = 2 * shape.kv_heads * (2 * dim if absent else dim + 4)  # bytes of a position
    vectors = shape.heads * dim
    splits = context // SPLIT
    moved = context * entry + 4 * parts * (vectors + 2 * shape.kv_heads * dim) + 2 * vectors
    return Specialization(
        name=f"attention_step_bf16_{cached}_{dim}x{group}" + (f"_{parts}" if parts > 1 else ""),
        kernel=attention_step_kernel,
        signature={name: types[name] for name in attention_step_kernel.arg_names if name not in constants},
        constexprs=constants,
        divisible_by_16=(),
        **options,
        grid=(f"(max_length + {SPLIT - 1}) / {SPLIT}", "kv_heads", "runs"),
        shape=f"{shape.heads} heads of {dim} on {shape.kv_heads}, 1 token after {context}"
        + (f", {parts} parts" if parts > 1 else ""),
        bytes_moved=moved + 4 * splits * (vectors + 2 * shape.heads),
        operations=4 * context * vectors,
        weight_arguments=("keys", "values"),
    )
