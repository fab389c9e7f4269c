"""Lets Triton's interpreter compute bfloat16 by value. It keeps bfloat16 as uint16 and would add the bit patterns.

Operands are widened to float32, the original operation runs, and its result is rounded to nearest even, as a GPU does.
Not mended: atomics on bfloat16, and `other` than arithmetic (sorting), which no kernel here uses.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle


def widened(bits: np.ndarray) -> np.ndarray:
    """uint16 bit patterns of bfloat16 to float32."""
    return (np.ascontiguousarray(bits).astype(np.uint32) << 16).view(np.float32)


def rounded(values: np.ndarray) -> np.ndarray:
    """float32 to the uint16 bit patterns of bfloat16, to nearest even; every NaN becomes the quiet one."""
    values = np.ascontiguousarray(values, np.float32)
    bits = values.view(np.uint32)
    nearest = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, nearest).astype(np.uint16)


def is_bfloat16(value: Any) -> bool:
    """Whether a handle's elements are bfloat16 (pointers to bfloat16 are not)."""
    return isinstance(value, TensorHandle) and value.dtype.scalar == tl.bfloat16


def _wide(value: Any) -> Any:
    return TensorHandle(widened(value.data), tl.float32) if is_bfloat16(value) else value


def _by_value(original: Callable[..., Any]) -> Callable[..., Any]:
    """The operation on float32 in place of bfloat16; rounds where the original would have kept bfloat16."""

    def operation(self: InterpreterBuilder, *args: Any) -> Any:
        if not any(is_bfloat16(a) for a in args):
            return original(self, *args)
        result = original(self, *map(_wide, args))
        if result.data.dtype == np.bool_:
            return TensorHandle(result.data, tl.int1)
        # A dot accumulates in the type of its third operand, and so does everything else that has one.
        if original.__name__ == "create_dot" and not is_bfloat16(args[2]):
            return result
        return TensorHandle(rounded(result.data), tl.bfloat16)

    return operation


def _cast(original: Callable[..., Any]) -> Callable[..., Any]:
    """Casts between bfloat16 and any other type, by way of float32."""

    def cast(self: InterpreterBuilder, source: TensorHandle, target: Any, *rest: Any) -> TensorHandle:
        here, there = source.dtype.scalar, target.scalar
        if tl.bfloat16 not in (here, there) or here == there:
            return original(self, source, target, *rest)
        if here == tl.bfloat16:
            wide = TensorHandle(widened(source.data), tl.float32)
            return wide if there == tl.float32 else original(self, wide, target, *rest)
        wide = source if here == tl.float32 else self.cast_impl(source, tl.float32)
        return TensorHandle(rounded(wide.data), tl.bfloat16)

    return cast


def _constant(self: InterpreterBuilder, value: float) -> TensorHandle:
    """A constant, which triton 3.7's interpreter cannot make at all."""
    return TensorHandle(rounded(np.array([value], np.float32)), tl.bfloat16)


def install() -> None:
    """Changes the interpreter of this process, once."""
    if getattr(InterpreterBuilder, "computes_bfloat16", False):
        return
    for name in ("binary_op", "unary_op", "create_dot", "create_fma", "create_rsqrt"):
        setattr(InterpreterBuilder, name, _by_value(getattr(InterpreterBuilder, name)))
    for name in ("cast_impl", "create_fp_to_fp"):
        setattr(InterpreterBuilder, name, _cast(getattr(InterpreterBuilder, name)))
    InterpreterBuilder.get_bf16 = _constant
    InterpreterBuilder.computes_bfloat16 = True
