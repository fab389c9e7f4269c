"""Quantized weights times fp16 or bf16 activations (W4A16, W6A16, W8A16), decode and prefill."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from qwen3edge.kernels.arguments import WORKING_TYPES, expect
from qwen3edge.kernels.configuration import target_of
from qwen3edge.kernels.matmul_launch import launch, product
from qwen3edge.kernels.matmul_parts import MatrixParts, check_parts
from qwen3edge.kernels.matmul_plan import MatrixShape, half_plan, model_matrices
from qwen3edge.kernels.matmul_tiles import accumulate_tiles
from qwen3edge.kernels.panels import packed_format
from qwen3edge.kernels.specialization import ModelShape, Specialization


@triton.jit(do_not_specialize=["M"])
def matmul_a16_kernel(
    x,  # [M, K] float16 or bfloat16
    words,  # int16 [stored_rows, tiles * 32], 8 bits: * 64
    high,  # uint8 [stored_rows, tiles * 32] or None
    scales,  # [tiles, stored_rows]
    offsets,  # like scales, or None
    steps,  # [tiles, stored_rows] or None
    residual,  # [M, N], added to the result, or None
    y,  # [M, N]; with SPLITS > 1 float32 [SPLITS, M, N]
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
):
    tiles = tl.cdiv(K, 128)
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    split = tl.program_id(2)
    first, last = 0, tiles
    if SPLITS > 1:
        # Pairs of tiles, as two may share a scale.
        pairs = tl.cdiv(tl.cdiv(tiles, 2), SPLITS)
        first = split * pairs * 2
        last = tl.minimum(first + pairs * 2, tiles)
    x_mask, w_mask = m < M, n < N
    row = tl.minimum(n, N - 1)  # without a mask: its predicates cost 24 instructions and 12 registers
    row_words = tiles * (64 if BITS == 8 else 32)
    acc = tl.zeros((BLOCK_N, BLOCK_M) if SWAPPED else (BLOCK_M, BLOCK_N), tl.float32)
    acc = accumulate_tiles(
        acc,
        x + m * K,
        x_mask,
        words + row * row_words,
        high + row * row_words if high is not None else None,
        scales + n,
        offsets + n if offsets is not None else None,
        steps + row if steps is not None else None,
        w_mask,
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
    W: tl.constexpr = 0 if SWAPPED else 1
    # 64 bits: a prompt's logits may exceed 2^31 values.
    at = tl.expand_dims(m.to(tl.int64) * N, W) + tl.expand_dims(n, 1 - W)
    inside = tl.expand_dims(x_mask, W) & tl.expand_dims(w_mask, 1 - W)
    if SPLITS > 1:
        at += split.to(tl.int64) * M * N
    elif residual is not None:
        acc += tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + at, acc.to(y.dtype.element_ty), mask=inside)


@torch.library.custom_op("qwen3edge::matmul_a16", mutates_args=())
def matmul_a16(
    x: torch.Tensor,
    words: torch.Tensor,
    high: torch.Tensor | None,
    scales: torch.Tensor,
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
    fmt = packed_format(format)
    expect("x", x, WORKING_TYPES, (None, None))
    parts = MatrixParts(words, high, scales, offsets, steps)
    check_parts(x, parts, fmt, rows)
    M, K = x.shape
    if residual is not None:
        expect("residual", residual, (*WORKING_TYPES, torch.float32), (M, rows), x)
    y = x.new_empty((M, rows), dtype=torch.float32 if wide else x.dtype)
    if M == 0:
        return y
    plan = half_plan(fmt, M, rows, K, x.dtype, target_of(x.device))
    launch(matmul_a16_kernel, plan, (x,), parts, residual, y)
    return y


@matmul_a16.register_fake
def _(x, words, high, scales, offsets, steps, residual, format, rows, wide=False):
    return x.new_empty((x.shape[0], rows), dtype=torch.float32 if wide else x.dtype)


def specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """For every matrix of the model and each of its numbers of tokens, in bf16."""
    return [special for matrix in model_matrices(shape) for special in specialize(matrix, target)]


def specialize(matrix: MatrixShape, target: str) -> list[Specialization]:
    """One for each number of tokens, in bf16."""
    found = []
    fmt = packed_format(matrix.format)
    for tokens in matrix.tokens:
        plan = half_plan(fmt, tokens, matrix.rows, matrix.columns, torch.bfloat16, target)
        moved = 2 * tokens * matrix.columns
        found.append(product("matmul_a16", matmul_a16_kernel, matrix, tokens, plan, {"x": "*bf16"}, moved))
    return found
