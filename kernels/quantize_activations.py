"""Activations to int8 with one float32 scale for each block of the weights' format, as the CPU rounds them."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from qwen3edge.kernels.arguments import WORKING_TYPES, expect
from qwen3edge.kernels.errors import KernelShapeError
from qwen3edge.kernels.numerics import largest_magnitude, quants_of, scale_of
from qwen3edge.kernels.specialization import ModelShape, Specialization

BLOCKS = (32, 64, 128, 256)
_VALUES = 2048  # of a program: 16 a thread at 4 warps, two loads of 16 bytes each


@triton.jit(do_not_specialize=["M"])
def quantize_activations_kernel(
    x,  # [M, K] float16 or bfloat16
    quants,  # int8 [M, K]
    scales,  # float32 [M, ceil(K / BLOCK)]
    sums,  # int32, like scales: of the quants of a block
    M,
    K,
    BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,  # of a program
):
    m = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1) * BLOCKS + tl.arange(0, BLOCKS)
    k = block[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    inside = k < K
    values = tl.load(x + m * K + k, mask=inside, other=0.0).to(tl.float32)
    scale, inverse = scale_of(largest_magnitude(values, 1))
    rounded = quants_of(values, inverse[:, None])
    tl.store(quants + m * K + k, rounded, mask=inside)
    count = tl.cdiv(K, BLOCK)
    tl.store(scales + m * count + block, scale, mask=block < count)
    total = tl.sum(tl.where(inside, rounded.to(tl.int32), 0), 1)
    tl.store(sums + m * count + block, total, mask=block < count)


@torch.library.custom_op("qwen3edge::quantize_activations", mutates_args=())
def quantize_activations(x: torch.Tensor, block: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x [M, K] -> int8 [M, K], float32 scales and int32 sums, both [M, ceil(K / block)]: value = int8 * scale.

    A block that holds NaN or infinity gets the scale NaN. Raises KernelTypeError, KernelShapeError.
    """
    expect("x", x, WORKING_TYPES, (None, None))
    if block not in BLOCKS or x.shape[1] == 0 or x.shape[1] % 32:
        wanted = f"a block of {', '.join(map(str, BLOCKS))} and a multiple of 32 columns"
        raise KernelShapeError(f"expected {wanted}, found {block} and {x.shape[1]}")
    quants, scales, sums = _outputs(x, block)
    M, K = x.shape
    if M:
        blocks = _VALUES // block
        grid = (M, triton.cdiv(scales.shape[1], blocks))
        quantize_activations_kernel[grid](
            x, quants, scales, sums, M, K, BLOCK=block, BLOCKS=blocks, num_warps=4, num_stages=1, enable_fp_fusion=True
        )
    return quants, scales, sums


@quantize_activations.register_fake
def _(x: torch.Tensor, block: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return _outputs(x, block)


def _outputs(x: torch.Tensor, block: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    shape = (x.shape[0], -(-x.shape[1] // block))
    return (
        torch.empty_like(x, dtype=torch.int8),
        x.new_empty(shape, dtype=torch.float32),
        x.new_empty(shape, dtype=torch.int32),
    )


def specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """One token of the hidden size, for every block."""
    del target  # the same tile everywhere
    K = shape.hidden
    return [
        Specialization(
            name=f"quantize_activations_bf16_{block}",
            kernel=quantize_activations_kernel,
            signature={"x": "*bf16", "quants": "*i8", "scales": "*fp32", "sums": "*i32", "M": "i32", "K": "i32"},
            constexprs={"BLOCK": block, "BLOCKS": _VALUES // block},
            divisible_by_16=("K",),
            num_warps=4,
            num_stages=1,
            grid=("M", f"(K + {_VALUES - 1}) / {_VALUES}", "1"),
            shape=f"{K} values, 1 token",
            bytes_moved=3 * K + 8 * -(-K // block),
            operations=4 * K,
        )
        for block in BLOCKS
    ]
