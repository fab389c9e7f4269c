"""Every kernel of this package: what a model launches on a target."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import qwen3edge.kernels
from qwen3edge.kernels.specialization import ModelShape, Specialization


def kernel_modules() -> Iterator[ModuleType]:
    """The files that have a kernel, by name."""
    for found in pkgutil.iter_modules(qwen3edge.kernels.__path__):
        if not found.ispkg:
            module = importlib.import_module(f"qwen3edge.kernels.{found.name}")
            if hasattr(module, "specializations"):
                yield module


def all_specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """In the order of the files."""
    return [found for module in kernel_modules() for found in module.specializations(shape, target)]


def compilation(specialization: Specialization) -> tuple[object, ...]:
    """Equal for those that compile to the same code."""
    return (
        specialization.kernel.fn.__module__,
        specialization.kernel.fn.__qualname__,
        tuple(sorted(specialization.signature.items())),
        tuple(sorted((name, repr(value)) for name, value in specialization.constexprs.items())),
        tuple(sorted(specialization.divisible_by_16)),
        tuple(sorted((name, repr(value)) for name, value in specialization.compile_options().items())),
    )
