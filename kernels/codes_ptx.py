"""What codes.py computes, as PTX for two values of 16 bits in a register.

LLVM makes pairs of some of the expressions only, and never of a 16-bit shift: 752 instructions for the int4 product of
64 x 128 x 128 on sm_87 without this text, 592 with it. The tests run the text itself, instruction by instruction.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.constexpr_function
def weight_text(plane: int, bits: int, base: int, dtype: tl.dtype) -> str:
    """$0 = (the code in $1 (and $4, its high bits) | base) * $2 + $3."""
    shift, lines = 0, []
    if bits == 8:
        shift = 8 * plane
        lines = [f"lop3.b32 t, t, {_both(0xFF)}, {_both(0x80)}, 0x6a;"]  # (t & mask) ^ 0x80
    elif bits == 6:
        # Both shifts are of 32 bits: what crosses the middle is masked.
        shift, top = 4 * plane, 4 - 2 * plane
        move = f"shl.b32 h, $4, {top};" if top >= 0 else f"shr.b32 h, $4, {-top};"
        lines = [f"and.b32 t, t, {_both(0xF)};", move, f"lop3.b32 t, h, {_both(0x30)}, t, 0xea;"]  # (h & mask) | t
    else:
        shift = 8 * (plane // 2)
        lines = [f"and.b32 t, t, {_both(0xF0 if plane % 2 else 0xF)};"]
    first = f"shr.b32 t, $1, {shift};" if shift else "mov.b32 t, $1;"
    if base and bits == 4:
        lines = [f"lop3.b32 t, t, {_both(0xF0 if plane % 2 else 0xF)}, {_both(base)}, 0xea;"]
    elif base:
        lines.append(f"or.b32 t, t, {_both(base)};")
    return _text([first, *lines, f"fma.rn.{_pair(dtype)} $0, t, $2, $3;"])


@triton.constexpr_function
def step_text(odd: bool, dtype: tl.dtype) -> str:
    """$0 = the low byte of $1, times 2^11 in fp16, 2^120 in bf16; a 16th of it if odd."""
    if dtype.is_fp16():
        last = f"mov.b32 c, {_both(0x5800 if odd else 0x6800)}; mul.rn.f16x2 $0, t, c;"  # 2^7, 2^11
        lines = [*_multiply_add("t", 0x3C00, 0xE400, dtype), last]  # - 1024
        return _text([f"lop3.b32 t, $1, {_both(0xFF)}, {_both(0x6400)}, 0xea;", *lines])
    power = 0x7D00 if odd else 0x7F00  # 2^123, 2^127; with s in the mantissa s * 2^116, s * 2^120 more
    lines = _multiply_add("$0", 0x3F80, 0x8000 | power, dtype)
    return _text([f"lop3.b32 t, $1, {_both(0xFF)}, {_both(power)}, 0xea;", *lines])


@triton.constexpr_function
def zero_text(added: int, dtype: tl.dtype) -> str:
    """$0 = 2^-13 of the high byte of $1 - 128 + added, which is 0 or 1536."""
    high = "prmt.b32 t, $1, 0, 0x4341;"  # bytes 3 and 1, each below a zero
    if dtype.is_fp16():
        # 1024 + the byte, times 2^-13, - 1152 / 8192 or + 384 / 8192
        lines = _multiply_add("$0", 0x0800, 0x2A00 if added else 0xB080, dtype)
        return _text([high, f"or.b32 t, t, {_both(0x6400)};", *lines])
    return _text([high, *_multiply_add("$0", 0x7B80, 0xBC80, dtype)])  # times 2^120, - 2^-6


@triton.constexpr_function
def _multiply_add(to: str, factor: int, offset: int, dtype: tl.dtype) -> list[str]:
    """to = t * factor + offset, which are bits."""
    return [f"mov.b32 c, {_both(factor)}; mov.b32 d, {_both(offset)};", f"fma.rn.{_pair(dtype)} {to}, t, c, d;"]


@triton.constexpr_function
def _text(lines: list[str]) -> str:
    return "{ .reg .b32 t, h, c, d; " + " ".join(lines) + " }"


@triton.constexpr_function
def _pair(dtype: tl.dtype) -> str:
    return "f16x2" if dtype.is_fp16() else "bf16x2"


@triton.constexpr_function
def _both(half: int) -> str:
    return f"0x{half:04x}{half:04x}"
