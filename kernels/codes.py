"""Codes of packed words as floats, exactly and without a conversion instruction; parts of the matmul kernels.

`and` and `or` place a code into the mantissa of a power of two, and the power is subtracted: 1024 + q has the bits
0x6400 | q in fp16, 128 + q has 0x4300 | q in bf16. Only the two high planes are shifted, by 8: a 16-bit shift costs two
instructions and a repacking for each pair on NVIDIA, which has no packed one. So the second plane is read where it
lies, in bits 4..7: 64 + q is 0x5400 | (word & 0xF0) in fp16; the mantissa of bf16 has only seven bits, so there the
fourth bit of the code picks what is subtracted, 8 or 16.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def slab_codes(
    words,  # int16, a tile's or half a tile's row of 32 words
    high,  # int16, the two high bits of 6-bit codes; unused otherwise
    PLANE: tl.constexpr,
    BITS: tl.constexpr,
    DTYPE: tl.constexpr,
):
    """Codes of one plane in DTYPE: q - 8 (4 bits), q (6 bits), two's complement (8 bits)."""
    BASE: tl.constexpr = 0x6400 if DTYPE.is_fp16() else 0x4300
    POWER: tl.constexpr = 1024.0 if DTYPE.is_fp16() else 128.0  # what has these bits
    if BITS == 8:
        b = words if PLANE == 0 else words >> 8
        low = ((b & 0x7F) | BASE).to(DTYPE, bitcast=True)
        sign = ((b & 0x80) | BASE).to(DTYPE, bitcast=True)  # 128 more where the code is negative
        codes = low - sign
    elif BITS == 6:
        q = (words >> (4 * PLANE)) & 0xF
        top = high << 4 if PLANE == 0 else (high << 2 if PLANE == 1 else (high if PLANE == 2 else high >> 2))
        codes = (q | (top & 0x30) | BASE).to(DTYPE, bitcast=True) - tl.full([], POWER, DTYPE)
    else:
        w = words if PLANE < 2 else words >> 8
        if PLANE % 2 == 0:
            codes = ((w & 0xF) | BASE).to(DTYPE, bitcast=True) - tl.full([], POWER + 8, DTYPE)
        elif DTYPE.is_fp16():
            codes = ((w & 0xF0) | 0x5400).to(DTYPE, bitcast=True) - tl.full([], 72.0, DTYPE)
        else:
            low = ((w & 0x70) | 0x4100).to(DTYPE, bitcast=True)  # 8 + the low three bits
            sign = ((w & 0x80) ^ 0x4180).to(DTYPE, bitcast=True)  # 16 where q < 8, else 8
            codes = low - sign
    return codes


@triton.jit
def step_floats(
    word,  # int32 or int64 [rows]: (s, z) of a tile's groups, a byte each
    GROUP: tl.constexpr,  # which of them
    CENTRE: tl.constexpr,  # 8 where codes are q - 8
    DTYPE: tl.constexpr,  # float16 or bfloat16
):
    """s and z + CENTRE * s in DTYPE, exact: up to 16 and within -128..255."""
    BASE: tl.constexpr = 0x6400 if DTYPE.is_fp16() else 0x4300
    POWER: tl.constexpr = 1024.0 if DTYPE.is_fp16() else 128.0
    pair = (word >> (16 * GROUP)).to(tl.int16)
    s = ((pair & 0x1F) | BASE).to(DTYPE, bitcast=True) - tl.full([], POWER, DTYPE)
    z = pair >> 8
    low = ((z & 0x7F) | BASE).to(DTYPE, bitcast=True)
    sign = ((z & 0x80) | BASE).to(DTYPE, bitcast=True)
    offset = low - sign
    if CENTRE > 0:
        offset += s * tl.full([], CENTRE, DTYPE)
    return s, offset


@triton.jit
def block_scale(
    word,  # int64, int32 or float32 [rows]: the scales of a tile
    SLAB: tl.constexpr,  # of the tile, 0..3
    BLOCK: tl.constexpr,  # values of K under one scale
):
    """The scale of a slab, float32 [rows]."""
    if BLOCK >= 128:
        return word
    else:
        return (word >> (16 * (SLAB * 32 // BLOCK))).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)


@triton.jit
def exact_bfloat16(codes):
    """float16 integers of at most eight bits to bfloat16: their low bits are zeros, so nothing is rounded."""
    return (codes.to(tl.float32).to(tl.int32, bitcast=True) >> 16).to(tl.int16).to(tl.bfloat16, bitcast=True)
