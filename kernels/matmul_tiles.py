"""The K loop of the products with fp16 or bf16 activations, for the dense kernel and the one over experts."""

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
