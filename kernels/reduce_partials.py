"""Adds the partial sums of a product that was split along K, in order, and the residual: no atomics, one result."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from qwen3edge.kernels.matmul_plan import launch_plan, model_matrices
from qwen3edge.kernels.panels import packed_format
from qwen3edge.kernels.specialization import ModelShape, Specialization

_BLOCK = 1024  # values of a program at 4 warps: two 128-bit loads a thread and partial sum


@triton.jit(do_not_specialize=["M"])
def reduce_partials_kernel(
    partials,  # float32 [SPLITS, M, N]
    residual,  # [M, N] or None
    y,  # [M, N]
    M,
    N,  # apart from M, so that rows of a multiple of 16 are read 128 bits at a time
    SPLITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    size = M.to(tl.int64) * N
    inside = i < size
    total = tl.zeros((BLOCK,), tl.float32)
    for split in tl.static_range(SPLITS):
        total += tl.load(partials + split * size + i, mask=inside, other=0.0)
    if residual is not None:
        total += tl.load(residual + i, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + i, total.to(y.dtype.element_ty), mask=inside)


def reduce_partials(partials: torch.Tensor, residual: torch.Tensor | None, y: torch.Tensor) -> None:
    """y = sum of float32 partials [splits, rows, columns] + residual; for the launchers of products, which check."""
    M, N = y.shape
    reduce_partials_kernel[(triton.cdiv(M * N, _BLOCK),)](
        partials,
        residual,
        y,
        M,
        N,
        SPLITS=partials.shape[0],
        BLOCK=_BLOCK,
        num_warps=4,
        num_stages=1,
        enable_fp_fusion=True,
    )


def specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """For products whose parts nobody else adds up: of neighbours that are not one launch with int8 activations."""
    found = {}
    for matrix in model_matrices(shape):
        for M in matrix.tokens if matrix.paired else ():
            plan = launch_plan("matmul_a8", packed_format(matrix.format), M, matrix.rows, matrix.columns, target)
            splits, size = plan.constants["SPLITS"], M * matrix.rows
            if splits > 1:
                found[splits] = Specialization(
                    name=f"reduce_partials_f32_{splits}",
                    kernel=reduce_partials_kernel,
                    signature={"partials": "*fp32", "y": "*fp32", "M": "i32", "N": "i32"},
                    constexprs={"residual": None, "SPLITS": splits, "BLOCK": _BLOCK},
                    divisible_by_16=("N",),
                    num_warps=4,
                    num_stages=1,
                    grid=(f"(M * N + {_BLOCK - 1}) / {_BLOCK}", "1", "1"),
                    shape=f"{matrix.name}, {M} token{'s' * (M > 1)}, {splits} splits",
                    bytes_moved=4 * (splits + 1) * size,
                    operations=splits * size,
                )
    return list(found.values())
