"""Quantized weights times fp16 or bf16 activations (W4A16, W6A16, W8A16), decode and prefill."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from qwen3edge.kernels.arguments import WORKING_TYPES, expect, expect_offsets
from qwen3edge.kernels.configuration import target_of
from qwen3edge.kernels.errors import KernelShapeError
from qwen3edge.kernels.matmul_launch import check_gated, launch, launch_parts, product
from qwen3edge.kernels.matmul_parts import MatrixParts, check_parts
from qwen3edge.kernels.matmul_plan import LaunchPlan, MatrixShape, half_plan, model_matrices
from qwen3edge.kernels.matmul_tiles import accumulate_dense, accumulate_tiles, store_product
from qwen3edge.kernels.panels import COLUMN_UNIT, packed_format
from qwen3edge.kernels.specialization import ModelShape, Specialization


@triton.jit
def split_range(K, SPLITS: tl.constexpr):
    """First and last tile (exclusive) of this program's part of K."""
    tiles = tl.cdiv(K, 128)
    first, last = 0, tiles
    if SPLITS > 1:
        # Pairs of tiles, as two may share a scale.
        pairs = tl.cdiv(tl.cdiv(tiles, 2), SPLITS)
        first = tl.program_id(2) * pairs * 2
        last = tl.minimum(first + pairs * 2, tiles)
    return first, last


@triton.jit
def matrix_sums(
    x,  # [M, K] float16 or bfloat16
    words,
    high,
    scales,
    offsets,
    steps,
    m,  # [BLOCK_M]
    n,  # [BLOCK_N]
    M,
    N,
    K,
    stored_rows,
    first,
    last,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
    STEP_GROUP: tl.constexpr,
    EVEN_K: tl.constexpr,
    SWAPPED: tl.constexpr,
    SCALE_WEIGHTS: tl.constexpr,
    HALF_CODES: tl.constexpr,
    PTX: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Sums of a tile over a part of K, float32 [BLOCK_N, BLOCK_M] if swapped, else [BLOCK_M, BLOCK_N]."""
    x_mask = m < M
    row = tl.minimum(n, N - 1)  # without a mask: its predicates cost 24 instructions and 12 registers
    acc = tl.zeros((BLOCK_N, BLOCK_M) if SWAPPED else (BLOCK_M, BLOCK_N), tl.float32)
    if BITS == 0:
        acc = accumulate_dense(acc, x + m * K, x_mask, words + row.to(tl.int64) * K, K, first, last, SWAPPED)
    else:
        row_words = tl.cdiv(K, 128) * (64 if BITS == 8 else 32)
        acc = accumulate_tiles(
            acc,
            x + m * K,
            x_mask,
            words + row * row_words,
            high + row * row_words if high is not None else None,
            scales + n,
            offsets + n if offsets is not None else None,
            steps + row if steps is not None else None,
            n < N,
            stored_rows,
            K,
            first,
            last,
            BITS,
            BLOCK,
            STEP_GROUP,
            EVEN_K,
            SWAPPED,
            SCALE_WEIGHTS,
            HALF_CODES,
            PTX,
        )
    return acc


@triton.jit(do_not_specialize=["M"])
def matmul_a16_kernel(
    x,  # [M, K] float16 or bfloat16
    words,  # int16 [stored_rows, tiles * 32], 8 bits: * 64; BITS = 0: weights [N, K]
    high,  # uint8 [stored_rows, tiles * 32] or None
    scales,  # [tiles, stored_rows]
    offsets,  # like scales, or None
    steps,  # [tiles, stored_rows] or None
    residual,  # [M, N], added to the result, or None
    y,  # [SPLITS, M, N], float32 with more than one; GATED: [M, N / 2]
    M,
    N,
    K,
    stored_rows,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
    STEP_GROUP: tl.constexpr,
    EVEN_K: tl.constexpr,
    SWAPPED: tl.constexpr,
    SCALE_WEIGHTS: tl.constexpr,
    HALF_CODES: tl.constexpr,
    PTX: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    SPLITS: tl.constexpr,
    GATED: tl.constexpr,  # silu(gate) * up, 16 rows of both in turn
):
    first, last = split_range(K, SPLITS)
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    begin = tl.program_id(1) * BLOCK_N
    acc = matrix_sums(
        x, words, high, scales, offsets, steps, m, begin + tl.arange(0, BLOCK_N), M, N, K, stored_rows, first, last,
        BITS, BLOCK, STEP_GROUP, EVEN_K, SWAPPED, SCALE_WEIGHTS, HALF_CODES, PTX, BLOCK_M, BLOCK_N,
    )  # fmt: skip
    if SPLITS > 1:
        y += tl.program_id(2).to(tl.int64) * M * N
    store_product(acc, y, residual if SPLITS == 1 else None, m, M, begin, N, 0, N, GATED, SWAPPED, BLOCK_M, BLOCK_N)


@torch.library.custom_op("qwen3edge::matmul_a16", mutates_args=())
def matmul_a16(
    x: torch.Tensor,
    words: torch.Tensor,
    high: torch.Tensor | None,
    scales: torch.Tensor | None,
    offsets: torch.Tensor | None,
    steps: torch.Tensor | None,
    residual: torch.Tensor | None,
    format: str,
    rows: int,
    wide: bool = False,
) -> torch.Tensor:
    """x [M, K] times the parts of a `DeviceMatrix` of `rows` rows -> [M, rows] in the type of x, or float32 if wide.

    residual: [M, rows], added before rounding. Raises KernelTypeError and KernelShapeError.
    """
    parts, plan = _prepared(x, MatrixParts(words, high, scales, offsets, steps), format, rows)
    M = x.shape[0]
    if residual is not None:
        expect("residual", residual, (*WORKING_TYPES, torch.float32), (M, rows), x)
    y = x.new_empty((M, rows), dtype=torch.float32 if wide else x.dtype)
    if M:
        launch(matmul_a16_kernel, plan, (x,), parts, residual, y)
    return y


@matmul_a16.register_fake
def _(x, words, high, scales, offsets, steps, residual, format, rows, wide=False):
    return x.new_empty((x.shape[0], rows), dtype=torch.float32 if wide else x.dtype)


@torch.library.custom_op("qwen3edge::matmul_a16_parts", mutates_args=())
def matmul_a16_parts(
    x: torch.Tensor,
    words: torch.Tensor,
    high: torch.Tensor | None,
    scales: torch.Tensor | None,
    offsets: torch.Tensor | None,
    steps: torch.Tensor | None,
    format: str,
    rows: int,
) -> torch.Tensor:
    """Like matmul_a16, float32 [splits, M, rows], for who adds them up. Raises KernelTypeError and KernelShapeError."""
    parts, plan = _prepared(x, MatrixParts(words, high, scales, offsets, steps), format, rows)
    y = x.new_empty((plan.constants["SPLITS"], x.shape[0], rows), dtype=torch.float32)
    if x.shape[0]:
        launch_parts(matmul_a16_kernel, plan, (x,), parts, None, y, rows)
    return y


@matmul_a16_parts.register_fake
def _(x, words, high, scales, offsets, steps, format, rows):
    fmt = packed_format(format)
    plan = half_plan(fmt, max(x.shape[0], 1), rows, x.shape[1], x.dtype, target_of(x.device))
    return x.new_empty((plan.constants["SPLITS"], x.shape[0], rows), dtype=torch.float32)


@torch.library.custom_op("qwen3edge::matmul_a16_gated", mutates_args=())
def matmul_a16_gated(
    x: torch.Tensor,
    words: torch.Tensor,
    high: torch.Tensor | None,
    scales: torch.Tensor | None,
    offsets: torch.Tensor | None,
    steps: torch.Tensor | None,
    format: str,
    rows: int,
) -> torch.Tensor:
    """silu(gate) * up [M, rows / 2] in the type of x; the matrix has 16 rows of the gate and 16 of up in turn.

    Raises KernelTypeError and KernelShapeError.
    """
    check_gated(rows)
    parts, plan = _prepared(x, MatrixParts(words, high, scales, offsets, steps), format, rows, True)
    y = x.new_empty((x.shape[0], rows // 2))
    if x.shape[0]:
        launch_parts(matmul_a16_kernel, plan, (x,), parts, None, y, rows)
    return y


@matmul_a16_gated.register_fake
def _(x, words, high, scales, offsets, steps, format, rows):
    return x.new_empty((x.shape[0], rows // 2))


def _prepared(
    x: torch.Tensor, parts: MatrixParts, format: str, rows: int, gated: bool = False
) -> tuple[MatrixParts, LaunchPlan]:
    fmt = packed_format(format)
    expect("x", x, WORKING_TYPES, (None, None))
    M, K = x.shape
    if fmt.kind == "dense":
        expect_offsets("x", M, K)
        expect("words", parts.words, (torch.float32, *WORKING_TYPES), (rows, K), x)
        if K % COLUMN_UNIT:
            raise KernelShapeError(f"x: expected a multiple of {COLUMN_UNIT} columns, found {K}")
    else:
        check_parts(x, parts, fmt, rows)
    return parts, half_plan(fmt, max(M, 1), rows, K, x.dtype, target_of(x.device), gated=gated)


def specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """For every matrix of the model and each of its numbers of tokens, in bf16; those that `matmul_pair` takes are left
    out."""
    found = [matrix for matrix in model_matrices(shape) if not matrix.paired]
    return [special for matrix in found for special in specialize(matrix, target)]


def specialize(matrix: MatrixShape, target: str) -> list[Specialization]:
    """One for each number of tokens, in bf16."""
    found = []
    fmt = packed_format(matrix.format)
    for tokens in matrix.tokens:
        sizes = (tokens, matrix.rows, matrix.columns)
        plan = half_plan(fmt, *sizes, torch.bfloat16, target, gated=matrix.gated)
        moved = 2 * tokens * matrix.columns
        found.append(product("matmul_a16", matmul_a16_kernel, matrix, tokens, plan, {"x": "*bf16"}, moved))
    return found
