"""Makes the interpreter's bookkeeping several times faster: it spends most of a kernel making and comparing types.

The same types and shapes are made again for every value of every program; here each shape is looked at once, names are
made when somebody asks for one, and what lies on the CPU is not copied onto itself after every launch.
"""

import functools
import math
from typing import Any

import numpy as np
import triton.language as tl
from triton.language import core
from triton.runtime import interpreter


def install() -> None:
    """Changes the interpreter of this process, once."""
    if getattr(core.block_type, "quick", False):
        return
    core.block_type.quick = True
    core.block_type.__init__ = _block_type
    core.block_type.name = property(lambda self: f"<{self.shape}, {self.element_ty}>")
    core.tensor.__init__ = _tensor
    _compare_by_identity_first(core.dtype)
    _compare_by_identity_first(core.block_type)
    interpreter._get_np_dtype = _numpy_types(interpreter._get_np_dtype)
    core._unwrap_if_constexpr = _unwrapping(core._unwrap_if_constexpr)
    interpreter.GridExecutor._init_args_hst = _stay(interpreter.GridExecutor._init_args_hst)
    interpreter.GridExecutor._restore_args_dev = lambda self, *arguments: None


@functools.cache
def _lengths(shape: tuple[int, ...]) -> tuple[Any, int]:
    """A block's shape and number of values. The shape is Triton's own tuple, which equals a list of the same lengths.

    Python's never does: every operation on two blocks then broadcast them to the shape that they had, to views that
    cannot be written, which triton 3.7 refuses as pointers.
    """
    return core.tuple(shape), core.validate_block_shape(list(shape))


@functools.cache
def _constants(shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Number of values and shape, as a tensor has them."""
    return core.constexpr(math.prod(shape)), core.tuple([core.constexpr(length) for length in shape])


def _block_type(self: Any, element_ty: Any, shape: Any) -> None:
    values = tuple([x.value if type(x) is core.constexpr else x for x in shape])
    if not values:
        raise TypeError("0d block_type is forbidden")
    self.element_ty = element_ty
    self.shape, self.numel = _lengths(values)


def _tensor(self: Any, handle: Any, type: Any) -> None:
    self.handle = handle
    self.type = type
    self.dtype = type.scalar
    self.numel, self.shape = _constants(tuple(type.shape) if type.is_block() else ())


def _compare_by_identity_first(kind: type) -> None:
    compare, hashed = kind.__eq__, kind.__hash__
    kind.__eq__ = lambda self, other: self is other or compare(self, other)
    kind.__hash__ = hashed


def _numpy_types(original: Any) -> Any:
    found: dict[str, np.dtype] = {}

    def numpy_type(kind: Any) -> np.dtype:
        if kind.is_ptr():
            return np.dtype(np.uint64)
        scalar = kind.scalar
        if scalar.is_ptr():
            return np.dtype(np.uint64)
        if scalar.name not in found:
            found[scalar.name] = original(scalar)
        return found[scalar.name]

    return numpy_type


def _unwrapping(original: Any) -> Any:
    plain = frozenset({int, float, bool, str, type(None), tl.tensor, tl.dtype, tl.block_type, tl.pointer_type})

    def unwrapped(value: Any) -> Any:
        kind = type(value)
        if kind is core.constexpr:
            return value.value
        return value if kind in plain else original(value)

    return unwrapped


def _stay(original: Any) -> Any:
    def arguments(self: Any, args_dev: Any, kwargs: Any) -> Any:
        values = [*args_dev, *kwargs.values()]
        assert all(not hasattr(x, "data_ptr") or x.device.type == "cpu" for x in values)
        return list(args_dev), dict(kwargs)

    return arguments
