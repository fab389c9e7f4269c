"""The K loops of the products with fp16 or bf16 activations, and what ends them: for one matrix and for experts."""

from __future__ import annotations

import triton
import triton.language as tl

from qwen3edge.kernels.codes import block_scale, constant_step, exact_bfloat16, read_step, scaled_codes, unit_of


@triton.jit
def accumulate_tiles(
    acc,  # float32 [BLOCK_N, BLOCK_M] if SWAPPED, else [BLOCK_M, BLOCK_N]
    x_rows,  # pointers [BLOCK_M] to rows of K activations
    x_mask,  # [BLOCK_M]
    words_rows,  # pointers [BLOCK_N] to rows of words; all to rows that are there
    high_rows,  # pointers [BLOCK_N] to rows of bytes, 6 bits only, else None; likewise
    scales_at,  # pointers [BLOCK_N] into the first row of scales
    offsets_at,  # pointers [BLOCK_N] or None
    steps_at,  # pointers [BLOCK_N] or None; likewise
    w_mask,  # [BLOCK_N]
    stored_rows,  # between two rows of scales
    K,
    first,  # tile
    last,  # tile, exclusive
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,  # values of K under one float scale
    STEP_GROUP: tl.constexpr,  # values of K under one integer step, 0 without
    EVEN_K: tl.constexpr,  # K is a multiple of 128
    SWAPPED: tl.constexpr,  # y^T = W x^T
    SCALE_WEIGHTS: tl.constexpr,  # else sums are scaled
    HALF_CODES: tl.constexpr,  # codes are computed in float16, exactly, where bf16 arithmetic is emulated (AMD)
    PTX: tl.constexpr,  # for NVIDIA
):
    """acc + the product over tiles first..last-1."""
    DTYPE: tl.constexpr = x_rows.dtype.element_ty
    CODES: tl.constexpr = tl.float16 if HALF_CODES else DTYPE
    UNIT: tl.constexpr = unit_of(STEP_GROUP > 0, CODES)
    ADD: tl.constexpr = tl.float32 if DTYPE.is_bf16() else DTYPE  # what offsets are added in
    W: tl.constexpr = 0 if SWAPPED else 1  # the dimension of acc that the rows of the matrix lie in
    OTHER: tl.constexpr = 1 - W
    PLANES: tl.constexpr = 2 if BITS == 8 else 4
    PARTS: tl.constexpr = 4 // PLANES  # rows of 32 words in a tile
    SLABS: tl.constexpr = 4 if BLOCK >= 128 else BLOCK // 32  # under one scale
    i = tl.expand_dims(tl.arange(0, 32), W)
    words_tile = tl.expand_dims(words_rows, OTHER) + i
    if BITS == 6:
        high_tile = tl.expand_dims(high_rows, OTHER) + i
    x_tile = tl.expand_dims(x_rows, W) + tl.expand_dims(tl.arange(0, 32), OTHER)
    x_inside = tl.expand_dims(x_mask, W)
    for tile in range(first, last):
        scale_row = tile // 2 if BLOCK == 256 else tile
        scale_word = tl.load(scales_at + scale_row * stored_rows, mask=w_mask, other=0)
        if offsets_at is not None:
            offset_word = tl.load(offsets_at + tile * stored_rows, mask=w_mask, other=0)
        if STEP_GROUP > 0:
            step_word = tl.load(steps_at + tile * stored_rows)
        high = tl.load(high_tile + tile * 32).to(tl.int16) if BITS == 6 else 0
        for slab in tl.static_range(4):
            if slab % PLANES == 0:
                words = tl.load(words_tile + (tile * PARTS + slab // PLANES) * 32)
            k = tile * 128 + slab * 32
            inside = x_inside if EVEN_K else x_inside & (tl.expand_dims(tl.arange(0, 32), OTHER) + k < K)
            x = tl.load(x_tile + k, mask=inside, other=0.0)
            if STEP_GROUP > 0:
                s, z = read_step(step_word, slab * 32 // STEP_GROUP, slab % PLANES, BITS, CODES, 0, PTX)
                s, z = tl.expand_dims(s, OTHER), tl.expand_dims(z, OTHER)
            else:
                s, z = constant_step(slab % PLANES, BITS, CODES, 0)
            w = scaled_codes(words, high, s, z, slab % PLANES, BITS, STEP_GROUP > 0, CODES, PTX)
            if CODES != DTYPE:
                w = exact_bfloat16(w)
            if SCALE_WEIGHTS:
                d = tl.expand_dims(block_scale(scale_word, slab, BLOCK) * UNIT, OTHER)
                if offsets_at is not None:
                    # Where the weights of a group lie on one side, most of d * w cancels: bf16 would lose it.
                    m = tl.expand_dims(block_scale(offset_word, slab, BLOCK), OTHER)
                    w = (w.to(ADD) * d.to(ADD) + m.to(ADD)).to(DTYPE)
                else:
                    w = w * d.to(DTYPE)
                acc = tl.dot(w, x, acc) if SWAPPED else tl.dot(x, w, acc)
            else:
                if slab % SLABS == 0:
                    part = tl.zeros_like(acc)
                part = tl.dot(w, x, part) if SWAPPED else tl.dot(x, w, part)
                if slab % SLABS == SLABS - 1:
                    acc += part * tl.expand_dims(block_scale(scale_word, slab, BLOCK) * UNIT, OTHER)
    return acc


@triton.jit
def accumulate_dense(
    acc,  # float32 [BLOCK_N, BLOCK_M] if SWAPPED, else [BLOCK_M, BLOCK_N]
    x_rows,  # pointers [BLOCK_M] to rows of K activations
    x_mask,  # [BLOCK_M]
    w_rows,  # pointers [BLOCK_N] to rows of K weights; all to rows that are there
    K,
    first,  # tile of 128
    last,  # tile, exclusive
    SWAPPED: tl.constexpr,
):
    """acc + the product over tiles first..last-1 with weights that are not quantized."""
    W: tl.constexpr = 0 if SWAPPED else 1
    OTHER: tl.constexpr = 1 - W
    STEP: tl.constexpr = 32
    i = tl.arange(0, STEP)
    for k in range(first * 128, tl.minimum(last * 128, K), STEP):
        w = tl.load(tl.expand_dims(w_rows, OTHER) + tl.expand_dims(k + i, W))
        x_at = tl.expand_dims(x_rows, W) + tl.expand_dims(k + i, OTHER)
        x = tl.load(x_at, mask=tl.expand_dims(x_mask, W), other=0.0)
        w = w.to(x.dtype)
        acc = tl.dot(w, x, acc) if SWAPPED else tl.dot(x, w, acc)
    return acc


@triton.jit
def gated(acc, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, SWAPPED: tl.constexpr):
    """silu(gate) * up, half as many rows of the matrix: 16 of the gate and 16 of up take turns in the tile."""
    if SWAPPED:
        turns = tl.permute(tl.reshape(acc, [BLOCK_N // 32, 2, 16, BLOCK_M]), [0, 2, 3, 1])
        gate, up = tl.split(tl.reshape(turns, [BLOCK_N // 2, BLOCK_M, 2]))
    else:
        turns = tl.permute(tl.reshape(acc, [BLOCK_M, BLOCK_N // 32, 2, 16]), [0, 1, 3, 2])
        gate, up = tl.split(tl.reshape(turns, [BLOCK_M, BLOCK_N // 2, 2]))
    # exp overflows to infinity for a very negative gate, and the quotient is then 0, as it should be.
    return gate / (1.0 + tl.exp(-gate)) * up


@triton.jit
def store_product(
    acc,
    y,  # [M, width]; gated: [M, width / 2]
    residual,  # like y, added to the result, or None
    m,  # [BLOCK_M]
    M,
    n,  # first row of the matrix of the tile
    N,  # rows of the matrix
    column,  # of y, where the matrix begins
    width,  # columns of y
    GATED: tl.constexpr,
    SWAPPED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Writes a tile of sums."""
    W: tl.constexpr = 0 if SWAPPED else 1  # the dimension of acc that the rows of the matrix lie in
    OTHER: tl.constexpr = 1 - W
    if GATED:
        acc = gated(acc, BLOCK_M, BLOCK_N, SWAPPED)
        row, rows, columns = n // 2 + tl.arange(0, BLOCK_N // 2), N // 2, width // 2
    else:
        row, rows, columns = n + tl.arange(0, BLOCK_N), N, width
    # 64 bits: a prompt's logits may exceed 2^31 values.
    at = tl.expand_dims(m.to(tl.int64) * columns + column, W) + tl.expand_dims(row, OTHER)
    inside = tl.expand_dims(m < M, W) & tl.expand_dims(row < rows, OTHER)
    if residual is not None:
        acc += tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + at, acc.to(y.dtype.element_ty), mask=inside)
