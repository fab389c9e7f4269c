"""From the projections of a step to queries and entries of the cache: bias, QK-norm, RoPE, rounding, writing.

A program takes a few heads, one token's or those on both sides of where the next begins: with one head a load would be
4 bytes a thread. Values are taken by programs of their own, several tokens each, because a page holds them transposed:
neighbours in position are neighbours in memory there.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import triton
import triton.language as tl

from qwen3edge.kernels.arguments import WORKING_TYPES, expect
from qwen3edge.kernels.configuration import configuration, target_of
from qwen3edge.kernels.errors import KernelConfigurationError, KernelShapeError, KernelTypeError
from qwen3edge.kernels.kv_cache import KvCache, expect_cache
from qwen3edge.kernels.matmul_plan import qkv_split_counts
from qwen3edge.kernels.numerics import largest_magnitude, quants_of, scale_of
from qwen3edge.kernels.specialization import ModelShape, Specialization

WARPS = 4  # loads of 8 bytes, a head's sums inside a warp: 880 instructions and 40 registers; one warp: 2376 and 127


@triton.jit
def projected(at, stride, mask, SPLITS: tl.constexpr, WORKING: tl.constexpr):
    """What the product gave, its parts added up in order, rounded to the working type; float32."""
    total = tl.load(at, mask=mask, other=0.0).to(tl.float32)
    for split in tl.static_range(1, SPLITS):
        total += tl.load(at + split * stride, mask=mask, other=0.0).to(tl.float32)
    return total.to(WORKING).to(tl.float32)


@triton.jit
def _rotate(
    program, qkv, bias, query_weight, key_weight, cos_sin, positions, sequences, block_tables, queries, keys,
    key_scales, epsilon, tokens, heads, kv_heads, max_pages,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, HEADS: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """Queries and keys: HEADS of all tokens' heads, a token's queries before its keys."""
    first_head = program * HEADS % (heads + kv_heads)
    row = program * HEADS + tl.arange(0, HEADS)
    token = row // (heads + kv_heads)
    head = row % (heads + kv_heads)
    inside = token < tokens
    is_key = head >= heads
    HALF: tl.constexpr = HEAD_DIM // 2
    i = tl.arange(0, DIM // 2)
    there = inside[:, None] & (i < HALF)[None, :]
    at = head[:, None] * HEAD_DIM + i[None, :]
    row_length = (heads + 2 * kv_heads) * HEAD_DIM
    from_qkv = qkv + token.to(tl.int64)[:, None] * row_length + at
    working: tl.constexpr = queries.dtype.element_ty
    a = projected(from_qkv, tokens.to(tl.int64) * row_length, there, SPLITS, working)
    b = projected(from_qkv + HALF, tokens.to(tl.int64) * row_length, there, SPLITS, working)
    if bias is not None:
        a += tl.load(bias + at, mask=there, other=0.0).to(tl.float32)
        b += tl.load(bias + at + HALF, mask=there, other=0.0).to(tl.float32)
    if query_weight is not None:
        inverse = tl.rsqrt((tl.sum(a * a, 1) + tl.sum(b * b, 1)) / HEAD_DIM + epsilon)[:, None]
        wanted = i < HALF
        query_a = tl.load(query_weight + i, mask=wanted, other=0.0).to(tl.float32)[None, :]
        query_b = tl.load(query_weight + i + HALF, mask=wanted, other=0.0).to(tl.float32)[None, :]
        key_a = tl.load(key_weight + i, mask=wanted, other=0.0).to(tl.float32)[None, :]
        key_b = tl.load(key_weight + i + HALF, mask=wanted, other=0.0).to(tl.float32)[None, :]
        # Rounded where the reference model rounds: the normed value, and its product with the weight.
        a = (a * inverse).to(working).to(tl.float32) * tl.where(is_key[:, None], key_a, query_a)
        b = (b * inverse).to(working).to(tl.float32) * tl.where(is_key[:, None], key_b, query_b)
        a = a.to(working).to(tl.float32)
        b = b.to(working).to(tl.float32)
    position = tl.load(positions + token, mask=inside, other=0)
    angles = cos_sin + position.to(tl.int64)[:, None] * HEAD_DIM + i[None, :]
    c = tl.load(angles, mask=there, other=0.0)
    s = tl.load(angles + HALF, mask=there, other=0.0)
    first = a * c - b * s
    second = b * c + a * s
    is_query = there & (head < heads)[:, None]
    to_queries = queries + token.to(tl.int64)[:, None] * (heads * HEAD_DIM) + at
    tl.store(to_queries, first.to(queries.dtype.element_ty), mask=is_query)
    tl.store(to_queries + HALF, second.to(queries.dtype.element_ty), mask=is_query)
    if first_head + HEADS > heads:  # some are keys
        sequence = tl.load(sequences + token, mask=inside, other=-1)
        to_cache = is_key & (sequence >= 0)
        page = tl.load(block_tables + sequence * max_pages + position // 64, mask=to_cache, other=0).to(tl.int64)
        entry = (page * kv_heads + head - heads) * 64 + position % 64
        to_keys = keys + entry[:, None] * HEAD_DIM + i[None, :]
        if key_scales is None:
            tl.store(to_keys, first.to(keys.dtype.element_ty), mask=there & to_cache[:, None])
            tl.store(to_keys + HALF, second.to(keys.dtype.element_ty), mask=there & to_cache[:, None])
        else:
            magnitude = tl.maximum(
                largest_magnitude(first, 1), largest_magnitude(second, 1), propagate_nan=tl.PropagateNan.ALL
            )
            scale, inverse_scale = scale_of(magnitude)
            tl.store(to_keys, quants_of(first, inverse_scale[:, None]), mask=there & to_cache[:, None])
            tl.store(to_keys + HALF, quants_of(second, inverse_scale[:, None]), mask=there & to_cache[:, None])
            tl.store(key_scales + entry, scale, mask=to_cache)


@triton.jit
def _write_values(
    program, qkv, bias, positions, sequences, block_tables, values, value_scales,
    tokens, heads, kv_heads, max_pages, HEAD_DIM: tl.constexpr, DIM: tl.constexpr, TOKENS: tl.constexpr,
    SPLITS: tl.constexpr, WORKING: tl.constexpr,
):  # fmt: skip
    """Values of one head: TOKENS tokens."""
    row_length = (heads + 2 * kv_heads).to(tl.int64) * HEAD_DIM
    head = program % kv_heads
    token = program // kv_heads * TOKENS + tl.arange(0, TOKENS)
    i = tl.arange(0, DIM)
    there = (token < tokens)[:, None] & (i < HEAD_DIM)[None, :]
    at = (heads + kv_heads + head) * HEAD_DIM + i
    from_qkv = qkv + token[:, None] * row_length + at[None, :]
    x = projected(from_qkv, tokens.to(tl.int64) * row_length, there, SPLITS, WORKING)
    if bias is not None:
        x += tl.load(bias + at, mask=i < HEAD_DIM, other=0.0).to(tl.float32)[None, :]
    sequence = tl.load(sequences + token, mask=token < tokens, other=-1)
    used = sequence >= 0
    position = tl.load(positions + token, mask=used, other=0)
    page = tl.load(block_tables + sequence * max_pages + position // 64, mask=used, other=0).to(tl.int64)
    entry = (page * kv_heads + head) * 64
    to_values = values + entry[None, :] * HEAD_DIM + i[:, None] * 64 + (position % 64)[None, :]
    written = used[None, :] & (i < HEAD_DIM)[:, None]
    if value_scales is None:
        tl.store(to_values, tl.trans(x.to(values.dtype.element_ty)), mask=written)
    else:
        scale, inverse_scale = scale_of(largest_magnitude(x, 1))
        tl.store(to_values, tl.trans(quants_of(x, inverse_scale[:, None])), mask=written)
        tl.store(value_scales + entry + position % 64, scale, mask=used)


# Counts differ from step to step and model to model; none is worth a compilation of its own.
@triton.jit(do_not_specialize=["tokens", "heads", "kv_heads", "max_pages"])
def rope_cache_kernel(
    qkv,  # [SPLITS, tokens, heads + 2 * kv_heads, head_dim]: parts of a product, to be added up
    bias,  # [heads + 2 * kv_heads, head_dim] or None
    query_weight,  # [head_dim] or None: no QK-norm
    key_weight,  # [head_dim] or None
    cos_sin,  # [positions, head_dim] float32: cosines of the first half's angles, then sines
    positions,  # [tokens] int32
    sequences,  # [tokens] int32, -1: a token that pads the batch
    block_tables,  # [sequences, max_pages] int32
    queries,  # [tokens, heads, head_dim]
    keys,  # [pages, kv_heads, 64, head_dim] int8, float16 or bfloat16
    key_scales,  # [pages, kv_heads, 64] float32; None: not int8
    values,  # [pages, kv_heads, head_dim, 64], likewise
    value_scales,  # [pages, kv_heads, 64] float32 or None
    epsilon,
    tokens,
    heads,
    kv_heads,
    max_pages,
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,  # HEAD_DIM, rounded up to a power of two
    HEADS: tl.constexpr,  # a program
    TOKENS: tl.constexpr,  # a program of values
    SPLITS: tl.constexpr,
):
    rotating = tl.cdiv(tokens * (heads + kv_heads), HEADS)
    program = tl.program_id(0)
    if program < rotating:
        _rotate(
            program, qkv, bias, query_weight, key_weight, cos_sin, positions, sequences, block_tables, queries, keys,
            key_scales, epsilon, tokens, heads, kv_heads, max_pages, HEAD_DIM, DIM, HEADS, SPLITS,
        )  # fmt: skip
    else:
        _write_values(
            program - rotating, qkv, bias, positions, sequences, block_tables, values, value_scales,
            tokens, heads, kv_heads, max_pages, HEAD_DIM, DIM, TOKENS,
            SPLITS, queries.dtype.element_ty,
        )  # fmt: skip


def rotary_table(frequencies: torch.Tensor, positions: int, factor: float = 1.0) -> torch.Tensor:
    """cos_sin [positions, head_dim] float32, of frequencies [head_dim / 2]: cosines, then sines, times the factor.

    The angle is the float32 product of position and frequency, as in the reference model.
    """
    at = torch.arange(positions, dtype=torch.float32, device=frequencies.device)
    angles = at[:, None] * frequencies[None, :]
    return torch.cat([angles.cos(), angles.sin()], -1) * factor


def rope_cache(
    qkv: torch.Tensor,
    bias: torch.Tensor | None,
    query_weight: torch.Tensor | None,
    key_weight: torch.Tensor | None,
    epsilon: float,
    cos_sin: torch.Tensor,
    positions: torch.Tensor,
    sequences: torch.Tensor,
    block_tables: torch.Tensor,
    cache: KvCache,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Writes the step's keys and values into the cache; returns the queries [tokens, heads, head_dim] in `dtype`.

    qkv: [splits, tokens, (heads + 2 * kv_heads) * head_dim] float32, parts that are added up and then rounded to
    `dtype`, float16 or bfloat16; bias: [(heads + 2 * kv_heads) * head_dim]; query_weight, key_weight: [head_dim], both
    or none; cos_sin: of rotary_table; positions, sequences: [tokens] int32, sequence -1 writes nothing. Positions must
    lie in the block table and in cos_sin. Raises KernelTypeError, KernelShapeError.
    """
    return torch.ops.qwen3edge.rope_cache(
        qkv, bias, query_weight, key_weight, epsilon, cos_sin, positions, sequences, block_tables, *cache, dtype
    )


def expect_projected(
    qkv: torch.Tensor,
    bias: torch.Tensor | None,
    query_weight: torch.Tensor | None,
    key_weight: torch.Tensor | None,
    epsilon: float,
    cos_sin: torch.Tensor,
    cache: KvCache,
    block_tables: torch.Tensor,
    dtype: torch.dtype,
) -> tuple[int, int]:
    """Queries, keys and values as products leave them, and what is done to them on their way into a cache: its heads
    and their size. Raises KernelTypeError, KernelShapeError and KernelConfigurationError.
    """
    expect("qkv", qkv, (torch.float32,), (None, None, None))
    if dtype not in WORKING_TYPES:
        raise KernelTypeError(f"dtype: expected {' or '.join(map(str, WORKING_TYPES))}, found {dtype}")
    kv_heads, head_dim = expect_cache(cache, block_tables, qkv)
    parts, _, columns = qkv.shape
    if parts < 1:
        raise KernelShapeError("qkv: expected at least one part, found none")
    heads = columns // head_dim - 2 * kv_heads
    if columns % head_dim or heads <= 0 or heads % kv_heads:
        raise KernelShapeError(
            f"qkv: expected (heads + 2 * {kv_heads}) * {head_dim} columns with heads a multiple of {kv_heads}, "
            f"found {columns}"
        )
    floats = (torch.float32, *WORKING_TYPES)
    if bias is not None:
        expect("bias", bias, floats, (columns,), qkv)
    if (query_weight is None) != (key_weight is None):
        raise KernelConfigurationError("query_weight, key_weight: expected both or none, found one")
    if query_weight is not None and key_weight is not None:
        expect("query_weight", query_weight, floats, (head_dim,), qkv)
        expect("key_weight", key_weight, floats, (head_dim,), qkv)
        if not epsilon > 0:
            raise KernelConfigurationError(f"epsilon: expected a number above 0, found {epsilon}")
    expect("cos_sin", cos_sin, (torch.float32,), (None, head_dim), qkv)
    return kv_heads, head_dim


@torch.library.custom_op("qwen3edge::rope_cache", mutates_args=("keys", "key_scales", "values", "value_scales"))
def _rope_cache(
    qkv: torch.Tensor,
    bias: torch.Tensor | None,
    query_weight: torch.Tensor | None,
    key_weight: torch.Tensor | None,
    epsilon: float,
    cos_sin: torch.Tensor,
    positions: torch.Tensor,
    sequences: torch.Tensor,
    block_tables: torch.Tensor,
    keys: torch.Tensor,
    key_scales: torch.Tensor | None,
    values: torch.Tensor,
    value_scales: torch.Tensor | None,
    dtype: torch.dtype,
) -> torch.Tensor:
    kv_heads, head_dim = expect_projected(
        qkv, bias, query_weight, key_weight, epsilon, cos_sin, KvCache(keys, key_scales, values, value_scales),
        block_tables, dtype,
    )  # fmt: skip
    splits, tokens, columns = qkv.shape
    heads = columns // head_dim - 2 * kv_heads
    expect("positions", positions, (torch.int32,), (tokens,), qkv)
    expect("sequences", sequences, (torch.int32,), (tokens,), qkv)
    queries = qkv.new_empty((tokens, heads, head_dim), dtype=dtype)
    if tokens:
        constants = _constants(head_dim, target_of(qkv.device))
        programs = triton.cdiv(tokens * (heads + kv_heads), constants["HEADS"])
        programs += triton.cdiv(tokens, constants["TOKENS"]) * kv_heads
        rope_cache_kernel[(programs,)](
            qkv, bias, query_weight, key_weight, cos_sin, positions, sequences, block_tables,
            queries, keys, key_scales, values, value_scales,
            epsilon, tokens, heads, kv_heads, block_tables.shape[1],
            SPLITS=splits, **constants, num_warps=WARPS, num_stages=1, enable_fp_fusion=True,
        )  # fmt: skip
    return queries


@_rope_cache.register_fake
def _(
    qkv,
    bias,
    query_weight,
    key_weight,
    epsilon,
    cos_sin,
    positions,
    sequences,
    block_tables,
    keys,
    key_scales,
    values,
    value_scales,
    dtype,
):
    head_dim = keys.shape[3]
    return qkv.new_empty((qkv.shape[1], qkv.shape[2] // head_dim - 2 * keys.shape[1], head_dim), dtype=dtype)


def _constants(head_dim: int, target: str) -> Mapping[str, int]:
    """TOKENS: of values, 16 for 16 bytes beside each other in a page."""
    return {
        "HEAD_DIM": head_dim,
        "DIM": triton.next_power_of_2(head_dim),
        **configuration("rope_cache", target),
    }


def specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """One token, with QK-norm, to int8 and to bfloat16, of as many parts as the model's products have."""
    splits = sorted({1} | qkv_split_counts(shape, target))
    return [_specialization(shape, target, cached, count) for cached in ("i8", "bf16") for count in splits]


def _specialization(shape: ModelShape, target: str, cached: str, splits: int) -> Specialization:
    constants = _constants(shape.head_dim, target)
    signature = {
        "queries": "*bf16",
        **dict.fromkeys(("qkv", "query_weight", "key_weight", "cos_sin", "key_scales", "value_scales"), "*fp32"),
        **dict.fromkeys(("positions", "sequences", "block_tables"), "*i32"),
        **dict.fromkeys(("keys", "values"), f"*{cached}"),
        "epsilon": "fp32",
        **dict.fromkeys(("tokens", "heads", "kv_heads", "max_pages"), "i32"),
    }
    absent = {} if cached == "i8" else {"key_scales": None, "value_scales": None}
    entry = 2 * shape.kv_heads * (2 * shape.head_dim if absent else shape.head_dim + 4)  # bytes of a position
    entries = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    return Specialization(
        name=f"rope_cache_bf16_{cached}_{shape.head_dim}" + (f"_{splits}" if splits > 1 else ""),
        kernel=rope_cache_kernel,
        signature={name: kind for name, kind in signature.items() if name not in absent},
        constexprs={"bias": None, "SPLITS": splits, **absent, **constants},
        divisible_by_16=(),
        num_warps=WARPS,
        num_stages=1,
        grid=(
            f"(tokens * (heads + kv_heads) + {constants['HEADS'] - 1}) / {constants['HEADS']}"
            f" + (tokens + {constants['TOKENS'] - 1}) / {constants['TOKENS']} * kv_heads",
            "1",
            "1",
        ),
        shape=f"{shape.heads} + 2 x {shape.kv_heads} heads of {shape.head_dim}, 1 token"
        + (f", {splits} splits" if splits > 1 else ""),
        bytes_moved=4 * splits * entries + 2 * shape.heads * shape.head_dim + entry + 4 * 3 * shape.head_dim,
        operations=(10 + splits) * (shape.heads + shape.kv_heads) * shape.head_dim,
    )
