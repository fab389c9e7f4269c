"""Pieces of kernels that several ops share."""

import triton
import triton.language as tl

# Adding and taking back 1.5 * 2^23 rounds a float32 of at most 2^22 to the nearest integer, ties to even, in two
# instructions on every target; there is no such function in the language itself.
_ROUNDING = tl.constexpr(12582912.0)
_MAGNITUDE_BITS = tl.constexpr(0x7FFFFFFF)


@triton.jit
def quants_of(x, inverse_scale):
    """round(x * inverse_scale) to int8, as the CPU rounds activations. Any shape, float32; NaN becomes some int8."""
    scaled = tl.minimum(tl.maximum(x * inverse_scale, -127.0), 127.0)
    return ((scaled + _ROUNDING) - _ROUNDING).to(tl.int8)


@triton.jit
def largest_magnitude(x, axis: tl.constexpr):
    """max |x| along an axis, float32; NaN if any is NaN, for as integers NaNs are above all other magnitudes."""
    bits = x.to(tl.int32, bitcast=True) & _MAGNITUDE_BITS
    return tl.max(bits, axis).to(tl.float32, bitcast=True)


@triton.jit
def scale_of(magnitude):
    """The scale that maps `magnitude` to 127, and its inverse; NaN and infinity make the scale NaN, so they show."""
    scale = tl.where(magnitude < float("inf"), magnitude / 127.0, float("nan"))
    inverse = tl.where(magnitude > 0, tl.minimum(127.0 / magnitude, 3.4e38), 0.0)  # infinity times 0 would be NaN
    return scale, inverse
