"""silu(gate) * up, where one matrix product gave both beside each other."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from qwen3edge.kernels.arguments import WORKING_TYPES, expect
from qwen3edge.kernels.errors import KernelShapeError
from qwen3edge.kernels.specialization import ModelShape, Specialization

BLOCK = 1024  # eight values a thread and load: 16 bytes
WARPS = 4


@triton.jit
def silu_mul_kernel(
    gate_up,  # [rows, 2, columns]
    out,  # [rows, columns]
    columns,
    BLOCK: tl.constexpr,
):
    # Rows first: the second dimension of a grid ends at 65535.
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = at < columns
    gate = tl.load(gate_up + row * 2 * columns + at, mask=there, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * columns + columns + at, mask=there, other=0.0).to(tl.float32)
    # exp overflows to infinity for a very negative gate, and the quotient is then 0, as it should be.
    silu = gate / (1.0 + tl.exp(-gate))
    tl.store(out + row * columns + at, (silu * up).to(out.dtype.element_ty), mask=there)


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """gate_up: [rows, 2 * columns] float16 or bfloat16, the gate's columns before those of up; returns [rows, columns].

    Raises KernelTypeError, KernelShapeError.
    """
    return torch.ops.qwen3edge.silu_mul(gate_up)


@torch.library.custom_op("qwen3edge::silu_mul", mutates_args=())
def _silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    expect("gate_up", gate_up, WORKING_TYPES, (None, None))
    rows, both = gate_up.shape
    if both == 0 or both % 2:
        raise KernelShapeError(f"gate_up: expected an even number of columns, found {both}")
    out = gate_up.new_empty((rows, both // 2))
    if rows:
        grid = (rows, triton.cdiv(both // 2, BLOCK))
        silu_mul_kernel[grid](
            gate_up, out, both // 2, BLOCK=BLOCK, num_warps=WARPS, num_stages=1, enable_fp_fusion=True
        )
    return out


@_silu_mul.register_fake
def _(gate_up):
    return gate_up.new_empty((gate_up.shape[0], gate_up.shape[1] // 2))


def specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """One token of the dense feed-forward network, or of its experts."""
    del target
    columns = shape.feed_forward or shape.expert_feed_forward
    return [
        Specialization(
            name="silu_mul_bf16",
            kernel=silu_mul_kernel,
            signature={"gate_up": "*bf16", "out": "*bf16", "columns": "i32"},
            constexprs={"BLOCK": BLOCK},
            divisible_by_16=("columns",),
            num_warps=WARPS,
            num_stages=1,
            grid=("rows", f"(columns + {BLOCK - 1}) / {BLOCK}", "1"),
            shape=f"{columns} columns, 1 row",
            bytes_moved=6 * columns,
            operations=5 * columns,
        )
    ]
