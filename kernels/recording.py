"""What would be launched on a target, noted in place of running: no device is needed, and no data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from triton.runtime.jit import JITFunction

from qwen3edge.kernels.configuration import pretended
from qwen3edge.kernels.specialization import Specialization, gpu_target

_ALIGNMENT = 16


@dataclass(frozen=True)
class Launch:
    """One launch, as Triton would compile it for these arguments."""

    specialization: Specialization  # without what is for people: its shape, bytes and operations
    grid: tuple[int, ...]


@contextmanager
def recording(target: str) -> Iterator[list[Launch]]:
    """While it lasts, every launch of this process is noted as for that target, and nothing runs: what kernels would
    write stays undefined. Not in Triton's interpreter. Raises KernelConfigurationError for an unknown target.
    """
    gpu_target(target)
    launches: list[Launch] = []

    def run(kernel: JITFunction, *arguments: Any, grid: tuple[int, ...], warmup: bool, **options: Any) -> None:
        del warmup
        launches.append(_launch(kernel, arguments, grid, options))

    with pretended(target), mock.patch.object(JITFunction, "run", run):
        yield launches


def _launch(kernel: JITFunction, arguments: Any, grid: tuple[int, ...], options: dict[str, Any]) -> Launch:
    given = dict(zip(kernel.arg_names, arguments, strict=False))
    given |= {name: options.pop(name) for name in kernel.arg_names if name in options}
    signature: dict[str, str] = {}
    constants: dict[str, Any] = {}
    divisible = []
    for parameter in kernel.params:
        name, value = parameter.name, given[parameter.name]
        number = isinstance(value, int) and not isinstance(value, bool)
        # As the just-in-time compiler takes arguments: an integer 1 is a constant unless the kernel says otherwise.
        if parameter.is_constexpr or value is None or (number and value == 1 and not parameter.do_not_specialize):
            constants[name] = value
            continue
        signature[name] = _kind(value)
        if number and not parameter.do_not_specialize and value % _ALIGNMENT == 0:
            divisible.append(name)
        if isinstance(value, torch.Tensor) and value.numel() and value.data_ptr() % _ALIGNMENT:
            raise AssertionError(f"{kernel.__name__}: {name} lies at an address that {_ALIGNMENT} does not divide")
    warps, stages = options.pop("num_warps"), options.pop("num_stages")
    options.pop("enable_fp_fusion")  # `Specialization.compile_options` has it
    found = Specialization(
        name=kernel.__name__,
        kernel=kernel,
        signature=signature,
        constexprs=constants,
        divisible_by_16=tuple(divisible),
        num_warps=warps,
        num_stages=stages,
        grid=tuple(str(size) for size in (*grid, 1, 1)[:3]),  # type: ignore[arg-type]
        shape="",
        bytes_moved=0,
        operations=0,
        weight_arguments=WEIGHTS.get(kernel.__name__, ()),
        options=options,
    )
    return Launch(found, grid)


def _kind(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return _POINTERS[value.dtype]
    if isinstance(value, float):
        return "fp32"
    return "i32" if -(2**31) <= value < 2**31 else "i64"


_POINTERS = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int8: "*i8",
    torch.uint8: "*u8",
    torch.int16: "*i16",
    torch.int32: "*i32",
    torch.int64: "*i64",
}

# Of each kernel that reads weights or the cache, what must come by 128 bits.
WEIGHTS = {
    **dict.fromkeys(("matmul_a16_kernel", "matmul_a8_kernel", "moe_matmul_kernel"), ("words",)),
    "matmul_pair_kernel": ("words", "words_2"),
    **dict.fromkeys(
        ("attention_decode_kernel", "attention_prefill_kernel", "attention_step_kernel"), ("keys", "values")
    ),
}
