"""Lets the interpreter's maxima and minima drop NaN, as `max.f32` and `min.f32` do; before triton 3.9 it kept NaN."""

import numpy as np
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle


def install() -> None:
    """Changes the interpreter of this process."""
    InterpreterBuilder.create_maxnumf = _maximum
    InterpreterBuilder.create_minnumf = _minimum


def _maximum(self: InterpreterBuilder, one: TensorHandle, other: TensorHandle) -> TensorHandle:
    return self.binary_op(one, other, np.fmax)


def _minimum(self: InterpreterBuilder, one: TensorHandle, other: TensorHandle) -> TensorHandle:
    return self.binary_op(one, other, np.fmin)
