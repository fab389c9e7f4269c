"""Codes of packed words as weights without a conversion instruction, exactly; parts of the matmul kernels.

The bits of a small integer are a subnormal float: q * 2^-24 in fp16, q * 2^-133 in bf16, linear up to 2047 and 255. So
an `and` makes a float of a code, and one multiply-add by a power of two (times the step) and an offset a weight. It
comes out as 2^-13 of itself, as no type holds 2^133; the float scale makes up for it. A code in bits 4..7 is 16 times
as large, so its factor is a 16th and it needs no shift: only the two high planes of four are shifted, by 8. Without
steps fp16 has room for whole weights: 1024 + q is 0x6400 | q, 64 + q is 0x5400 | (word & 0xF0).
"""

from __future__ import annotations

import triton
import triton.language as tl

from qwen3edge.kernels.codes_ptx import step_text, weight_text, zero_text


@triton.constexpr_function
def unit_of(steps: bool, dtype: tl.dtype) -> float:
    """What a weight of `scaled_codes` is to be multiplied with."""
    # The least power of two by which 16 * 2^133 (16 is the largest step) and 16 * 2^24 become finite.
    return 1.0 if dtype.is_fp16() and not steps else 8192.0


@triton.constexpr_function
def base_of(plane: int, bits: int, steps: bool, dtype: tl.dtype) -> int:
    """Bits of the power of two in whose mantissa a code lies: 1024, 64, or none where it is a subnormal number."""
    if steps or not dtype.is_fp16():
        return 0
    return 0x5400 if bits == 4 and plane % 2 else 0x6400


@triton.jit
def code_bits(
    words,  # int16, a tile's or half a tile's row of 32 words
    high,  # int16, the two high bits of 6-bit codes; unused otherwise
    PLANE: tl.constexpr,
    BITS: tl.constexpr,
):
    """Codes of a plane, int16: q, or 16 q in the odd planes of 4 bits, or w8 + 128."""
    if BITS == 8:
        bits = ((words if PLANE == 0 else words >> 8) & 0xFF) ^ 0x80
    elif BITS == 6:
        top = high << 4 if PLANE == 0 else (high << 2 if PLANE == 1 else (high if PLANE == 2 else high >> 2))
        bits = ((words >> (4 * PLANE)) & 0xF) | (top & 0x30)
    else:
        bits = (words if PLANE < 2 else words >> 8) & (0xF if PLANE % 2 == 0 else 0xF0)
    return bits


@triton.jit
def scaled_codes(
    words,
    high,
    s,  # of read_step or constant_step
    z,
    PLANE: tl.constexpr,
    BITS: tl.constexpr,
    STEPS: tl.constexpr,  # whether s and z are of read_step
    DTYPE: tl.constexpr,  # float16 or bfloat16
    PTX: tl.constexpr,  # NVIDIA: two values an instruction, which LLVM finds in some of these expressions only
):
    """1 / unit_of(..) of s * q + z in DTYPE, in the shape of the words."""
    BASE: tl.constexpr = base_of(PLANE, BITS, STEPS, DTYPE)
    if PTX:
        TEXT: tl.constexpr = weight_text(PLANE, BITS, BASE, DTYPE)
        if BITS == 6:
            pairs = tl.inline_asm_elementwise(TEXT, "=r,r,r,r,r", [words, s, z, high], tl.int16, True, 2)
        else:
            pairs = tl.inline_asm_elementwise(TEXT, "=r,r,r,r", [words, s, z], tl.int16, True, 2)
        w = pairs.to(DTYPE, bitcast=True)
    else:
        w = (code_bits(words, high, PLANE, BITS) | BASE).to(DTYPE, bitcast=True) * s + z
    return w


@triton.jit
def constant_step(
    PLANE: tl.constexpr,
    BITS: tl.constexpr,
    DTYPE: tl.constexpr,
    ADDED: tl.constexpr,  # to the code; 0 in bf16
):
    """What `scaled_codes` takes for q - 8 (4 bits) or w8 (8 bits): [1, 1]."""
    ODD: tl.constexpr = BITS == 4 and PLANE % 2 == 1
    CENTRE: tl.constexpr = 8 if BITS == 4 else 128
    if DTYPE.is_fp16():
        s = tl.full([1, 1], 1.0, DTYPE)
        z = tl.full([1, 1], ADDED - CENTRE - (64 if ODD else 1024), DTYPE)
    else:
        s = tl.full([1, 1], 2.0**116 if ODD else 2.0**120, DTYPE)
        z = tl.full([1, 1], -CENTRE / 8192.0, DTYPE)
    return s, z


@triton.jit
def read_step(
    word,  # int32 or int64 [rows]: (s, z + 128) of a tile's groups, a byte each
    GROUP: tl.constexpr,  # which of them
    PLANE: tl.constexpr,
    BITS: tl.constexpr,
    DTYPE: tl.constexpr,
    ADDED: tl.constexpr,  # to s * q + z; 0 in bf16
    PTX: tl.constexpr,
):
    """What `scaled_codes` takes for s * q + z: [rows] each."""
    ODD: tl.constexpr = BITS == 4 and PLANE % 2 == 1
    pair = (word >> (16 * GROUP)).to(tl.int16)
    if PTX:
        s_text: tl.constexpr = step_text(ODD, DTYPE)
        z_text: tl.constexpr = zero_text(ADDED, DTYPE)
        s = tl.inline_asm_elementwise(s_text, "=r,r", [pair], tl.int16, True, 2).to(DTYPE, bitcast=True)
        z = tl.inline_asm_elementwise(z_text, "=r,r", [pair], tl.int16, True, 2).to(DTYPE, bitcast=True)
    elif DTYPE.is_fp16():
        s = ((pair & 0xFF) | 0x6400).to(DTYPE, bitcast=True) - tl.full([], 1024.0, DTYPE)
        s = s * tl.full([], 128.0 if ODD else 2048.0, DTYPE)
        u = (((pair >> 8) & 0xFF) | 0x6400).to(DTYPE, bitcast=True)
        z = u * tl.full([], 1.0 / 8192.0, DTYPE) + tl.full([], (ADDED - 1152) / 8192.0, DTYPE)
    else:
        # 2^123 or 2^127: with s in the mantissa, s * 2^116 or s * 2^120 more
        POWER: tl.constexpr = 0x7D00 if ODD else 0x7F00
        s = ((pair & 0xFF) | POWER).to(DTYPE, bitcast=True) - tl.full([], 2.0**123 if ODD else 2.0**127, DTYPE)
        u = ((pair >> 8) & 0xFF).to(DTYPE, bitcast=True)
        z = u * tl.full([], 2.0**120, DTYPE) + tl.full([], -128 / 8192.0, DTYPE)
    return s, z


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
    """float16 of at most eight significant bits to bfloat16: the low bits are zeros, so nothing is rounded."""
    return (codes.to(tl.float32).to(tl.int32, bitcast=True) >> 16).to(tl.int16).to(tl.bfloat16, bitcast=True)
