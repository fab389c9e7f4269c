"""Attention of a block of rows over pages of the cache: the loop of the decode and the prefill kernel.

Its two products are turned round for decode (SWAPPED): rows then lie in the last dimension of scores and sums, and else
in the first.
"""

from __future__ import annotations

import triton
import triton.language as tl

from qwen3edge.kernels.numerics import largest_magnitude

LOG2_E = 1.4426950408889634  # weights are powers of two
STEPS = tl.constexpr(32512.0)  # 127 * 256: steps of a query or weight up to the largest
_ROUNDING = tl.constexpr(12582912.0)  # 1.5 * 2^23: added to a float32 below 2^22, its last bits are the integer
_ROUNDING_BITS = tl.constexpr(0x4B400000)


@triton.jit
def high_and_low(x):
    """x in -1..1, float32, as int8 high * 256 + low in steps of 1/32512."""
    steps = (x * STEPS + _ROUNDING).to(tl.int32, bitcast=True) - _ROUNDING_BITS
    high = (steps + 128) >> 8
    return high.to(tl.int8), (steps - (high << 8)).to(tl.int8)


@triton.jit
def exact_dot(a, b, M: tl.constexpr, N: tl.constexpr):
    """The exact product of int8 as float32 [M, N]; its sums must stay below 2^22."""
    sums = tl.dot(a, b, tl.full([M, N], _ROUNDING_BITS, tl.int32), out_dtype=tl.int32)
    return sums.to(tl.float32, bitcast=True) - _ROUNDING


@triton.jit
def softmax_shift(maximum):
    """What is subtracted from scores: not -infinity of a row that sees nothing yet, which would give NaN."""
    return tl.where(maximum == float("-inf"), 0.0, maximum)


@triton.jit
def attend(
    q,  # [ROWS, DIM], [DIM, ROWS] if swapped; zeros past the head's size and in rows that there are not
    position,  # [ROWS]: the last that a row sees
    keys,  # the cache, as the kernels take it
    key_scales,
    values,
    value_scales,
    table,  # pointer to the row of the block table
    kv_head,
    kv_heads,
    length,  # positions in the cache
    first,  # block of positions
    last,  # exclusive
    scale,  # log2(e) / sqrt(head_dim)
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,  # HEAD_DIM, rounded up to a power of two
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,  # positions at once: a page or half of one
    SWAPPED: tl.constexpr,
):
    """Sums of weighted values [ROWS, DIM] ([DIM, ROWS] if swapped), the largest score [ROWS], the sum of weights."""
    R: tl.constexpr = 1 if SWAPPED else 0  # expands what lies along the other dimension than rows
    C: tl.constexpr = 1 - R  # expands what lies along rows
    i = tl.arange(0, DIM)
    j = tl.arange(0, BLOCK)
    if key_scales is None:
        q = q.to(keys.dtype.element_ty)
    else:
        q = q.to(tl.float32)
        size = largest_magnitude(q, C)
        q_high, q_low = high_and_low(q * tl.expand_dims(tl.where(size > 0, 1.0 / size, 0.0), C))
        row_scale = size * (scale / STEPS)
    maximum = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    out = tl.zeros([DIM, ROWS] if SWAPPED else [ROWS, DIM], tl.float32)
    for index in range(first, last):
        page = tl.load(table + index * BLOCK // 64).to(tl.int64)
        entry = (page * kv_heads + kv_head) * 64
        # Not index * BLOCK % 64: from Triton 3.6 to 3.8 a remainder forgets what divides it, and values come by bytes.
        row_of_page = index % (64 // BLOCK) * BLOCK + j
        key_at = keys + entry * HEAD_DIM + tl.expand_dims(row_of_page, R) * HEAD_DIM + tl.expand_dims(i, C)
        value_at = values + entry * HEAD_DIM + tl.expand_dims(i, R) * 64 + tl.expand_dims(row_of_page, C)
        if DIM == HEAD_DIM:
            key = tl.load(key_at)  # [BLOCK, DIM] if swapped
            value = tl.load(value_at)  # [DIM, BLOCK] if swapped
        else:
            key = tl.load(key_at, mask=tl.expand_dims(i < HEAD_DIM, C), other=0)
            value = tl.load(value_at, mask=tl.expand_dims(i < HEAD_DIM, R), other=0)
        here = index * BLOCK + j
        # Past the length a page holds anything, NaN as well.
        if key_scales is None:
            scores = (tl.dot(key, q) if SWAPPED else tl.dot(q, key)) * scale
        else:
            key_scale = tl.load(key_scales + entry + row_of_page, mask=here < length, other=0.0)
            value_scale = tl.load(value_scales + entry + row_of_page, mask=here < length, other=0.0)
            if SWAPPED:
                scores = exact_dot(key, q_high, BLOCK, ROWS) * 256.0 + exact_dot(key, q_low, BLOCK, ROWS)
            else:
                scores = exact_dot(q_high, key, ROWS, BLOCK) * 256.0 + exact_dot(q_low, key, ROWS, BLOCK)
            scores *= tl.expand_dims(key_scale, R) * tl.expand_dims(row_scale, C)
        scores = tl.where(tl.expand_dims(here, R) <= tl.expand_dims(position, C), scores, float("-inf"))
        page_maximum = tl.max(scores, C)
        p = tl.exp2(scores - tl.expand_dims(softmax_shift(page_maximum), C))
        largest = tl.maximum(maximum, page_maximum)
        shift = softmax_shift(largest)
        before, now = tl.exp2(maximum - shift), tl.exp2(page_maximum - shift)
        total = total * before + tl.sum(p, C) * now
        out *= tl.expand_dims(before, C)
        if key_scales is None:
            value = tl.where(tl.expand_dims(here < length, C), value, 0.0)
            p = p.to(value.dtype)
            out += (tl.dot(value, p) if SWAPPED else tl.dot(p, value)) * tl.expand_dims(now, C)
        else:
            page_weight = largest_magnitude(value_scale, 0)
            relative = value_scale * tl.where(page_weight > 0, 1.0 / page_weight, 0.0)
            p_high, p_low = high_and_low(p * tl.expand_dims(relative, R))
            factor = tl.expand_dims(now * (page_weight / STEPS), C)
            if SWAPPED:
                product = exact_dot(value, p_high, DIM, ROWS) * 256.0 + exact_dot(value, p_low, DIM, ROWS)
                out += product * factor
            else:
                # One product after the other: both at once would not fit the registers.
                out += exact_dot(p_high, value, ROWS, DIM) * (factor * 256.0)
                out += exact_dot(p_low, value, ROWS, DIM) * factor
        maximum = largest
    return out, maximum, total
