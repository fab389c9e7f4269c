"""Quantized weights times int8 activations (W4A8, W6A8, W8A8) on the int8 matrix instructions.

A block of K is one exact int32 sum, as on the CPU: q4z's w8 = s * q + z, q6z's and q8's codes over 256 values, one
float32 step for each. w8 is computed as float16, 1536 + w8 (in units of 2^-13), whose low byte is w8: no conversion.
The sums start at the bits of 1.5 * 2^23, so that their bits are those of the float 1.5 * 2^23 + sum, as a sum is at
most 256 * 128 * 127 < 2^22.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from qwen3edge.kernels.arguments import WORKING_TYPES, expect
from qwen3edge.kernels.codes import block_scale, constant_step, read_step, scaled_codes
from qwen3edge.kernels.configuration import target_of
from qwen3edge.kernels.errors import KernelTypeError
from qwen3edge.kernels.matmul_launch import check_gated, launch, launch_parts, product
from qwen3edge.kernels.matmul_parts import MatrixParts, check_parts
from qwen3edge.kernels.matmul_plan import LaunchPlan, MatrixShape, launch_plan, model_matrices
from qwen3edge.kernels.matmul_tiles import store_product
from qwen3edge.kernels.panels import packed_format
from qwen3edge.kernels.specialization import ModelShape, Specialization


@triton.jit
def int8_codes(
    words,
    high,
    step_word,
    SLAB: tl.constexpr,  # of the tile
    BITS: tl.constexpr,
    STEP_GROUP: tl.constexpr,
    OTHER: tl.constexpr,  # the dimension that K lies in
    PTX: tl.constexpr,
):
    """Codes of a slab as int8: q - 8, s * q + z, or two's complement bytes."""
    if BITS == 8:
        codes = (words >> (8 * (SLAB % 2))).to(tl.int8)
    else:
        if STEP_GROUP > 0:
            s, z = read_step(step_word, SLAB * 32 // STEP_GROUP, SLAB, BITS, tl.float16, 1536, PTX)
            s, z = tl.expand_dims(s, OTHER), tl.expand_dims(z, OTHER)
        else:
            s, z = constant_step(SLAB, BITS, tl.float16, 1536)
        half = scaled_codes(words, high, s, z, SLAB, BITS, STEP_GROUP > 0, tl.float16, PTX)
        codes = half.to(tl.int16, bitcast=True).to(tl.int8)
    return codes


@triton.jit(do_not_specialize=["M"])
def matmul_a8_kernel(
    quants,  # int8 [M, K]
    scales_x,  # float32 [M, blocks]
    sums_x,  # int32 [M, blocks], q4a only, else None
    words,  # int16 [stored_rows, tiles * 32], 8 bits: * 64
    high,  # uint8 [stored_rows, tiles * 32] or None
    scales,  # [tiles, stored_rows], blocks of 256: [blocks, stored_rows]
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
    EVEN_K: tl.constexpr,  # K is a multiple of 128, and of BLOCK
    SWAPPED: tl.constexpr,
    PTX: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    SPLITS: tl.constexpr,
    GATED: tl.constexpr,  # silu(gate) * up, 16 rows of both in turn
):
    W: tl.constexpr = 0 if SWAPPED else 1  # the dimension of acc that the rows of the matrix lie in
    OTHER: tl.constexpr = 1 - W
    PLANES: tl.constexpr = 2 if BITS == 8 else 4
    ROW_WORDS: tl.constexpr = 64 if BITS == 8 else 32  # of a tile
    SLABS: tl.constexpr = BLOCK // 32
    STEP_TILES: tl.constexpr = 2 if BLOCK == 256 else 1  # tiles of one turn of the loop
    SUM_START: tl.constexpr = 0x4B400000
    OTHERWISE: tl.constexpr = None if EVEN_K else 0  # where there is a mask
    tiles = tl.cdiv(K, 128)
    blocks = tl.cdiv(K, BLOCK)
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    x_mask, w_mask = m < M, n < N
    row = tl.minimum(n, N - 1)  # as in matmul_a16
    x_inside = tl.expand_dims(x_mask, W)
    i_w = tl.expand_dims(tl.arange(0, 32), W)
    i_x = tl.expand_dims(tl.arange(0, 32), OTHER)
    words_tile = words + tl.expand_dims(row * (tiles * ROW_WORDS), OTHER) + i_w
    if BITS == 6:
        high_tile = high + tl.expand_dims(row * (tiles * 32), OTHER) + i_w
    x_tile = quants + tl.expand_dims(m * K, W) + i_x
    turns = tl.cdiv(tiles, STEP_TILES)
    first, last = 0, turns
    if SPLITS > 1:
        # Pairs of tiles, as in matmul_a16.
        each = tl.cdiv(tl.cdiv(tiles, 2), SPLITS) * (2 // STEP_TILES)
        first = tl.program_id(2) * each
        last = tl.minimum(first + each, turns)
    acc = tl.zeros((BLOCK_N, BLOCK_M) if SWAPPED else (BLOCK_M, BLOCK_N), tl.float32)
    for turn in range(first, last):
        for slab in tl.static_range(4 * STEP_TILES):
            tile = turn * STEP_TILES + slab // 4
            there = None if EVEN_K else i_w + tile * 32 < tiles * 32
            if slab % 4 == 0:
                scale_row = turn if BLOCK == 256 else tile
                scale_word = tl.load(scales + scale_row * stored_rows + n, mask=w_mask, other=0)
                if offsets is not None:
                    offset_word = tl.load(offsets + tile * stored_rows + n, mask=w_mask, other=0)
                step_word = 0
                if STEP_GROUP > 0:
                    present = None if EVEN_K else n - n + tile < tiles
                    step_word = tl.load(steps + tile * stored_rows + row, mask=present, other=OTHERWISE)
                high_bits = 0
                if BITS == 6:
                    high_bits = tl.load(high_tile + tile * 32, mask=there, other=OTHERWISE).to(tl.int16)
            if slab % PLANES == 0:
                at = tile * ROW_WORDS + (slab % 4) // PLANES * 32
                tile_words = tl.load(words_tile + at, mask=there, other=OTHERWISE)
            k = tile * 128 + (slab % 4) * 32
            inside = x_inside if EVEN_K else x_inside & (i_x + k < K)
            x = tl.load(x_tile + k, mask=inside, other=0)
            w = int8_codes(tile_words, high_bits, step_word, slab % 4, BITS, STEP_GROUP, OTHER, PTX)
            if slab % SLABS == 0:
                isum = tl.full(acc.shape, SUM_START, tl.int32)
            isum = tl.dot(w, x, isum, out_dtype=tl.int32) if SWAPPED else tl.dot(x, w, isum, out_dtype=tl.int32)
            if slab % SLABS == SLABS - 1:
                block = (turn * 4 * STEP_TILES + slab) // SLABS
                valid = x_mask if EVEN_K else x_mask & (m - m + block < blocks)
                at_x = m * blocks + block
                sx = tl.load(scales_x + at_x, mask=valid, other=0.0)
                d = tl.expand_dims(block_scale(scale_word, slab % 4, BLOCK), OTHER) * tl.expand_dims(sx, W)
                acc += (isum.to(tl.float32, bitcast=True) - 12582912.0) * d
                if offsets is not None:
                    # Integers in bits like these as well: at most 128 * 127.
                    bits = tl.load(sums_x + at_x, mask=valid, other=0) + SUM_START
                    sums = (bits.to(tl.float32, bitcast=True) - 12582912.0) * sx
                    offset = block_scale(offset_word, slab % 4, BLOCK)
                    acc += tl.expand_dims(offset, OTHER) * tl.expand_dims(sums, W)
    if SPLITS > 1:
        y += tl.program_id(2).to(tl.int64) * M * N
    store_product(
        acc, y, residual if SPLITS == 1 else None, m, M, tl.program_id(1) * BLOCK_N, N, 0, N,
        GATED, SWAPPED, BLOCK_M, BLOCK_N,
    )  # fmt: skip


@torch.library.custom_op("qwen3edge::matmul_a8", mutates_args=())
def matmul_a8(
    quants: torch.Tensor,
    scales_x: torch.Tensor,
    sums_x: torch.Tensor | None,
    words: torch.Tensor,
    high: torch.Tensor | None,
    scales: torch.Tensor,
    offsets: torch.Tensor | None,
    steps: torch.Tensor | None,
    residual: torch.Tensor | None,
    format: str,
    rows: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    """quants [M, K] times the parts of a `DeviceMatrix` of `rows` rows -> [M, rows] in `dtype`.

    scales_x, sums_x: [M, blocks], as `quantize_activations` gives them for the block of the format; the sums only for
    q4a. residual: [M, rows], added before rounding. Raises KernelTypeError and KernelShapeError.
    """
    parts = MatrixParts(words, high, scales, offsets, steps)
    plan = _prepared(quants, scales_x, sums_x, parts, format, rows, dtype)
    M = quants.shape[0]
    if residual is not None:
        expect("residual", residual, (*WORKING_TYPES, torch.float32), (M, rows), quants)
    y = quants.new_empty((M, rows), dtype=dtype)
    if M:
        launch(matmul_a8_kernel, plan, (quants, scales_x, sums_x), parts, residual, y)
    return y


@matmul_a8.register_fake
def _(quants, scales_x, sums_x, words, high, scales, offsets, steps, residual, format, rows, dtype):
    return quants.new_empty((quants.shape[0], rows), dtype=dtype)


@torch.library.custom_op("qwen3edge::matmul_a8_parts", mutates_args=())
def matmul_a8_parts(
    quants: torch.Tensor,
    scales_x: torch.Tensor,
    sums_x: torch.Tensor | None,
    words: torch.Tensor,
    high: torch.Tensor | None,
    scales: torch.Tensor,
    offsets: torch.Tensor | None,
    steps: torch.Tensor | None,
    format: str,
    rows: int,
) -> torch.Tensor:
    """Like matmul_a8, float32 [splits, M, rows], for who adds them up. Raises KernelTypeError and KernelShapeError."""
    parts = MatrixParts(words, high, scales, offsets, steps)
    plan = _prepared(quants, scales_x, sums_x, parts, format, rows, torch.float32)
    y = quants.new_empty((plan.constants["SPLITS"], quants.shape[0], rows), dtype=torch.float32)
    if quants.shape[0]:
        launch_parts(matmul_a8_kernel, plan, (quants, scales_x, sums_x), parts, None, y, rows)
    return y


@matmul_a8_parts.register_fake
def _(quants, scales_x, sums_x, words, high, scales, offsets, steps, format, rows):
    (M, K), fmt = quants.shape, packed_format(format)
    splits = launch_plan("matmul_a8", fmt, max(M, 1), rows, K, target_of(quants.device)).constants["SPLITS"]
    return quants.new_empty((splits, M, rows), dtype=torch.float32)


@torch.library.custom_op("qwen3edge::matmul_a8_gated", mutates_args=())
def matmul_a8_gated(
    quants: torch.Tensor,
    scales_x: torch.Tensor,
    sums_x: torch.Tensor | None,
    words: torch.Tensor,
    high: torch.Tensor | None,
    scales: torch.Tensor,
    offsets: torch.Tensor | None,
    steps: torch.Tensor | None,
    format: str,
    rows: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    """silu(gate) * up [M, rows / 2] in `dtype`; the matrix has 16 rows of the gate and 16 of up in turn.

    Raises KernelTypeError and KernelShapeError.
    """
    check_gated(rows)
    parts = MatrixParts(words, high, scales, offsets, steps)
    plan = _prepared(quants, scales_x, sums_x, parts, format, rows, dtype, True)
    y = quants.new_empty((quants.shape[0], rows // 2), dtype=dtype)
    if quants.shape[0]:
        launch_parts(matmul_a8_kernel, plan, (quants, scales_x, sums_x), parts, None, y, rows)
    return y


@matmul_a8_gated.register_fake
def _(quants, scales_x, sums_x, words, high, scales, offsets, steps, format, rows, dtype):
    return quants.new_empty((quants.shape[0], rows // 2), dtype=dtype)


def _prepared(
    quants: torch.Tensor,
    scales_x: torch.Tensor,
    sums_x: torch.Tensor | None,
    parts: MatrixParts,
    format: str,
    rows: int,
    dtype: torch.dtype,
    gated: bool = False,
) -> LaunchPlan:
    fmt = packed_format(format)
    expect("quants", quants, (torch.int8,), (None, None))
    check_parts(quants, parts, fmt, rows)
    M, K = quants.shape
    blocks = triton.cdiv(K, fmt.block)
    expect("scales_x", scales_x, (torch.float32,), (M, blocks), quants)
    if (sums_x is not None) != (fmt.kind == "q4a"):
        raise KernelTypeError(f"sums_x: expected {'a tensor' if sums_x is None else 'none'} for {fmt.name}")
    if sums_x is not None:
        expect("sums_x", sums_x, (torch.int32,), (M, blocks), quants)
    if dtype not in (*WORKING_TYPES, torch.float32):
        raise KernelTypeError(f"dtype: expected float16, bfloat16 or float32, found {dtype}")
    return launch_plan("matmul_a8", fmt, max(M, 1), rows, K, target_of(quants.device), gated=gated)


def specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """For every matrix of the model and each of its numbers of tokens."""
    return [special for matrix in model_matrices(shape) for special in specialize(matrix, target)]


def specialize(matrix: MatrixShape, target: str) -> list[Specialization]:
    """One for each number of tokens, in bf16."""
    found = []
    fmt = packed_format(matrix.format)
    inputs = {"quants": "*i8", "scales_x": "*fp32", "sums_x": "*i32" if fmt.kind == "q4a" else None}
    for tokens in matrix.tokens:
        plan = launch_plan("matmul_a8", fmt, tokens, matrix.rows, matrix.columns, target, gated=matrix.gated)
        moved = tokens * (matrix.columns + 4 * triton.cdiv(matrix.columns, fmt.block))
        found.append(product("matmul_a8", matmul_a8_kernel, matrix, tokens, plan, inputs, moved))
    return found
