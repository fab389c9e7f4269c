"""Runs inline PTX in Triton's interpreter, which has none: the few instructions that our kernels use, on NumPy arrays.

A register holds two values of 16 bits, as `pack=2` makes it; here it is a uint32 for every two neighbours of an array.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from tests.kernels.bfloat16 import rounded, widened


def run(text: str, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """$0 of a block of instructions; $1, .. are the inputs, uint32 of equal shapes."""
    registers = {f"${1 + index}": value for index, value in enumerate(inputs)}
    for line in text.strip(" {}").split(";"):
        if not line.strip() or line.strip().startswith(".reg"):
            continue
        operation, *operands = re.split(r"[\s,]+", line.strip())
        target, *sources = operands
        values = [registers[s] if s in registers else np.uint32(int(s, 0)) for s in sources]
        registers[target] = _apply(operation, values)
    return registers["$0"]


def _apply(operation: str, values: list[Any]) -> Any:
    if operation == "mov.b32":
        return values[0]
    if operation == "and.b32":
        return values[0] & values[1]
    if operation == "or.b32":
        return values[0] | values[1]
    if operation == "shr.b32":
        return values[0] >> values[1]
    if operation == "shl.b32":
        return values[0] << values[1]
    if operation == "lop3.b32":
        return _lop3(*values)
    if operation == "prmt.b32":
        return _permute(*values)
    name, _, kind = operation.rpartition(".")
    if (name, kind) in {("fma.rn", "f16x2"), ("fma.rn", "bf16x2")}:
        return _halves(lambda a, b, c: a * b + c, values, kind)
    if (name, kind) == ("mul.rn", "f16x2"):
        return _halves(lambda a, b: a * b, values, kind)
    raise NotImplementedError(operation)


def _lop3(a: Any, b: Any, c: Any, table: np.uint32) -> Any:
    """Bit i of the result is bit (a, b, c)_i of the table."""
    result = np.zeros(np.broadcast(a, b, c).shape, np.uint32)
    for index in range(8):
        if int(table) >> index & 1:
            term = (a if index & 4 else ~a) & (b if index & 2 else ~b) & (c if index & 1 else ~c)
            result |= term
    return result


def _permute(a: Any, b: Any, selector: np.uint32) -> Any:
    """Byte i is the byte of (b, a) that the selector's nibble i names; signs are not replicated."""
    source = [value >> np.uint32(8 * byte) & np.uint32(0xFF) for value in (a, b) for byte in range(4)]
    chosen = [int(selector) >> 4 * byte & 0xF for byte in range(4)]
    assert all(name < 8 for name in chosen)
    return sum(source[name] << np.uint32(8 * byte) for byte, name in enumerate(chosen)).astype(np.uint32)


def _halves(function: Any, values: list[Any], kind: str) -> Any:
    """In float64, which holds every product and sum of two such numbers that occur here, then rounded once."""
    result = np.zeros((), np.uint32)
    for shift in (np.uint32(0), np.uint32(16)):
        bits = [np.asarray(value >> shift & np.uint32(0xFFFF)).astype(np.uint16) for value in values]
        if kind == "f16x2":
            floats = [part.view(np.float16).astype(np.float64) for part in bits]
            half = function(*floats).astype(np.float16).view(np.uint16)
        else:
            half = rounded(function(*(widened(part).astype(np.float64) for part in bits)).astype(np.float32))
        result = result | half.astype(np.uint32) << shift
    return result


class _Results:
    """What the builder returns for an operation of one result."""

    def __init__(self, handle: TensorHandle) -> None:
        self.handle = handle

    def get_result(self, index: int) -> TensorHandle:
        assert index == 0
        return self.handle


def _create_inline_asm(
    self: Any, text: str, constraints: str, inputs: Sequence[TensorHandle], types: Sequence[Any], pure: bool, pack: int
) -> _Results:
    assert pack == 2 and pure and constraints == ",".join(["=r"] + ["r"] * len(inputs))
    assert all(handle.data.dtype.itemsize == 2 for handle in inputs)
    shape = inputs[0].data.shape
    pairs = [np.ascontiguousarray(handle.data).view(np.uint16).reshape(-1) for handle in inputs]
    result = run(text, [pair[0::2] | pair[1::2].astype(np.uint32) << 16 for pair in pairs])
    (kind,) = types
    values = np.broadcast_to(result, (pairs[0].size // 2,)).astype(np.uint32).view(np.int16).reshape(shape)
    return _Results(TensorHandle(values, kind.scalar))


def install() -> None:
    """Changes the interpreter of this process."""
    InterpreterBuilder.create_inline_asm = _create_inline_asm
