"""What the dense products with float16 and with int8 activations share: a launch, and how it is compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import triton

from qwen3edge.kernels.arguments import expect_blocks
from qwen3edge.kernels.errors import KernelShapeError
from qwen3edge.kernels.matmul_parts import MatrixParts, matrix_nbytes, part_types
from qwen3edge.kernels.matmul_plan import GATE_ROWS, LaunchPlan, MatrixShape
from qwen3edge.kernels.panels import packed_format
from qwen3edge.kernels.reduce_partials import reduce_partials
from qwen3edge.kernels.specialization import Specialization


def launch(
    kernel: Any,
    plan: LaunchPlan,
    x: Sequence[torch.Tensor | None],
    parts: MatrixParts,
    residual: torch.Tensor | None,
    y: torch.Tensor,
) -> None:
    """The kernel and, where K is split, the sum; nothing is checked: for the ops and for bench/tune.py.

    x: what the kernel takes before the parts, activations [M, K] first; y [M, N].
    """
    splits, (M, N) = plan.constants["SPLITS"], y.shape
    out = y if splits == 1 else y.new_empty((splits, M, N), dtype=torch.float32)
    launch_parts(kernel, plan, x, parts, residual if splits == 1 else None, out, N)
    if splits > 1:
        reduce_partials(out, residual, y)


def launch_parts(
    kernel: Any,
    plan: LaunchPlan,
    x: Sequence[torch.Tensor | None],
    parts: MatrixParts,
    residual: torch.Tensor | None,
    y: torch.Tensor,
    rows: int,
) -> None:
    """The kernel alone; rows: of the matrix. y: float32 [splits, M, rows], or what the kernel ends with."""
    activations, constants = x[0], plan.constants
    assert activations is not None
    M, K = activations.shape
    grid = (triton.cdiv(M, constants["BLOCK_M"]), triton.cdiv(rows, constants["BLOCK_N"]), constants["SPLITS"])
    expect_blocks("matrix", grid[1], constants["BLOCK_N"])
    kernel[grid](*x, *parts, residual, y, M, rows, K, parts.words.shape[0], **constants, **plan.options)


def check_gated(rows: int) -> None:
    """Raises KernelShapeError."""
    if rows % (2 * GATE_ROWS):
        raise KernelShapeError(f"rows: expected a multiple of {2 * GATE_ROWS} for gate and up, found {rows}")


def product(
    op: str,
    kernel: Any,
    matrix: MatrixShape,
    tokens: int,
    plan: LaunchPlan,
    inputs: Mapping[str, str | None],
    input_nbytes: int,
) -> Specialization:
    """How `launch` compiles the kernel for the model; inputs: types of x, None for what is not given."""
    fmt = packed_format(matrix.format)
    types = dict(inputs) | {name: part and part.pointer for name, part in part_types(fmt).items()} | {"residual": None}
    types["y"] = "*bf16" if matrix.gated else "*fp32"
    types |= dict.fromkeys(("M", "N", "K", "stored_rows"), "i32")
    return Specialization(
        name=f"{op}_{matrix.name}_{fmt.name}_bf16_{tokens}",
        kernel=kernel,
        signature={name: kind for name, kind in types.items() if kind is not None},
        constexprs=plan.constants | {name: None for name, kind in types.items() if kind is None},
        divisible_by_16=("N", "K", "stored_rows"),
        num_warps=plan.options["num_warps"],
        num_stages=plan.options["num_stages"],
        grid=plan.grid,
        shape=f"{matrix.name} {matrix.rows}x{matrix.columns} {fmt.name}, {tokens} token{'s' * (tokens > 1)}",
        bytes_moved=matrix_nbytes(fmt, matrix.rows, matrix.columns) + input_nbytes + 2 * tokens * matrix.rows,
        operations=2 * tokens * matrix.rows * matrix.columns,
        weight_arguments=("words",),
    )
