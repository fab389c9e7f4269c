"""Parts of the attention kernels: exact products with the int8 cache, and sums that meet no infinity."""

from __future__ import annotations

import triton
import triton.language as tl

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
