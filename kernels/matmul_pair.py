"""Two quantized matrices of different formats with the same input in one launch: queries, keys and values.

Recipes give values another format than queries and keys. Programs of the first matrix and of the second stand beside
each other in one grid, and their results in one row, as parts of a split K that who reads them adds up.
"""

from __future__ import annotations

import itertools

import torch
import triton
import triton.language as tl

from qwen3edge.kernels.arguments import WORKING_TYPES, expect, expect_blocks
from qwen3edge.kernels.configuration import target_of
from qwen3edge.kernels.matmul_a16 import matrix_sums, split_range
from qwen3edge.kernels.matmul_parts import MatrixParts, check_parts, matrix_nbytes, part_types
from qwen3edge.kernels.matmul_plan import TOKENS, LaunchPlan, format_constants, half_constants, half_plan, part_rows
from qwen3edge.kernels.matmul_tiles import store_product
from qwen3edge.kernels.panels import PackedFormat, packed_format
from qwen3edge.kernels.specialization import ModelShape, Specialization


@triton.jit(do_not_specialize=["M"])
def matmul_pair_kernel(
    x,  # [M, K] float16 or bfloat16
    words,  # of the first matrix, as matmul_a16 takes them
    high,
    scales,
    offsets,
    steps,
    words_2,  # of the second
    high_2,
    scales_2,
    offsets_2,
    steps_2,
    y,  # [SPLITS, M, N + N_2] float32
    M,
    N,
    N_2,
    K,
    stored_rows,
    stored_rows_2,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
    STEP_GROUP: tl.constexpr,
    SCALE_WEIGHTS: tl.constexpr,
    BITS_2: tl.constexpr,
    BLOCK_2: tl.constexpr,
    STEP_GROUP_2: tl.constexpr,
    SCALE_WEIGHTS_2: tl.constexpr,
    EVEN_K: tl.constexpr,
    SWAPPED: tl.constexpr,
    HALF_CODES: tl.constexpr,
    PTX: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    SPLITS: tl.constexpr,
):
    first, last = split_range(K, SPLITS)
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    width = N + N_2
    if SPLITS > 1:
        y += tl.program_id(2).to(tl.int64) * M * width
    block = tl.program_id(1)
    blocks = tl.cdiv(N, BLOCK_N)
    i = tl.arange(0, BLOCK_N)
    if block < blocks:
        begin = block * BLOCK_N
        acc = matrix_sums(
            x, words, high, scales, offsets, steps, m, begin + i, M, N, K, stored_rows, first, last,
            BITS, BLOCK, STEP_GROUP, EVEN_K, SWAPPED, SCALE_WEIGHTS, HALF_CODES, PTX, BLOCK_M, BLOCK_N,
        )  # fmt: skip
        store_product(acc, y, None, m, M, begin, N, 0, width, False, SWAPPED, BLOCK_M, BLOCK_N)
    else:
        begin = (block - blocks) * BLOCK_N
        acc = matrix_sums(
            x, words_2, high_2, scales_2, offsets_2, steps_2, m, begin + i, M, N_2, K, stored_rows_2, first, last,
            BITS_2, BLOCK_2, STEP_GROUP_2, EVEN_K, SWAPPED, SCALE_WEIGHTS_2, HALF_CODES, PTX, BLOCK_M, BLOCK_N,
        )  # fmt: skip
        store_product(acc, y, None, m, M, begin, N_2, N, width, False, SWAPPED, BLOCK_M, BLOCK_N)


@torch.library.custom_op("qwen3edge::matmul_pair", mutates_args=())
def matmul_pair(
    x: torch.Tensor,
    words: torch.Tensor,
    high: torch.Tensor | None,
    scales: torch.Tensor,
    offsets: torch.Tensor | None,
    steps: torch.Tensor | None,
    format: str,
    rows: int,
    words_2: torch.Tensor,
    high_2: torch.Tensor | None,
    scales_2: torch.Tensor,
    offsets_2: torch.Tensor | None,
    steps_2: torch.Tensor | None,
    format_2: str,
    rows_2: int,
) -> torch.Tensor:
    """x [M, K] times the parts of two quantized `DeviceMatrix` -> float32 [splits, M, rows + rows_2], to be added up.

    Raises KernelTypeError and KernelShapeError.
    """
    expect("x", x, WORKING_TYPES, (None, None))
    parts = MatrixParts(words, high, scales, offsets, steps)
    parts_2 = MatrixParts(words_2, high_2, scales_2, offsets_2, steps_2)
    formats = packed_format(format), packed_format(format_2)
    check_parts(x, parts, formats[0], rows)
    check_parts(x, parts_2, formats[1], rows_2)
    M, K = x.shape
    plan = pair_plan(*formats, max(M, 1), rows + rows_2, K, x.dtype, target_of(x.device))
    y = x.new_empty((plan.constants["SPLITS"], M, rows + rows_2), dtype=torch.float32)
    if M:
        block = plan.constants["BLOCK_N"]
        blocks = triton.cdiv(rows, block) + triton.cdiv(rows_2, block)
        expect_blocks("matrices", blocks, block)
        grid = (triton.cdiv(M, plan.constants["BLOCK_M"]), blocks, plan.constants["SPLITS"])
        sizes = (M, rows, rows_2, K, words.shape[0], words_2.shape[0])
        matmul_pair_kernel[grid](x, *parts, *parts_2, y, *sizes, **plan.constants, **plan.options)
    return y


@matmul_pair.register_fake
def _(
    x,
    words,
    high,
    scales,
    offsets,
    steps,
    format,
    rows,
    words_2,
    high_2,
    scales_2,
    offsets_2,
    steps_2,
    format_2,
    rows_2,
):
    (M, K), total = x.shape, rows + rows_2
    plan = pair_plan(packed_format(format), packed_format(format_2), max(M, 1), total, K, x.dtype, target_of(x.device))
    return x.new_empty((plan.constants["SPLITS"], M, total), dtype=torch.float32)


def pair_plan(
    fmt: PackedFormat, fmt_2: PackedFormat, M: int, N: int, K: int, dtype: torch.dtype, target: str
) -> LaunchPlan:
    """That of matmul_a16 for a matrix of all N rows, with the constants of both formats."""
    plan = half_plan(fmt, M, N, K, dtype, target)
    second = half_constants(fmt_2, K, plan.many(fmt_2), dtype, target)
    constants = {name: value for name, value in plan.constants.items() if name != "GATED"}
    constants |= {f"{name}_2": value for name, value in format_constants(fmt_2).items()}
    constants["SCALE_WEIGHTS_2"] = second["SCALE_WEIGHTS"]
    return LaunchPlan(constants, plan.options)


def specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """For queries, keys and values where they have two formats, and each number of tokens, in bf16."""
    rows, found = part_rows(shape), {}
    for formats in shape.formats:
        runs = [list(run) for _, run in itertools.groupby("qkv", key=lambda part: formats[f"attn_{part}.weight"])]
        if len(runs) == 2:
            sizes = tuple(sum(rows[part] for part in run) for run in runs)
            names = tuple("_".join(run) for run in runs)
            kinds = tuple(packed_format(formats[f"attn_{run[0]}.weight"]) for run in runs)
            for tokens in TOKENS:
                special = _specialization(names, sizes, kinds, shape.hidden, tokens, target)
                found[special.name] = special
    return list(found.values())


def _specialization(
    names: tuple[str, ...],
    rows: tuple[int, ...],
    formats: tuple[PackedFormat, ...],
    K: int,
    tokens: int,
    target: str,
) -> Specialization:
    plan = pair_plan(*formats, tokens, sum(rows), K, torch.bfloat16, target)
    types: dict[str, str | None] = {"x": "*bf16", "y": "*fp32"}
    for suffix, fmt in zip(("", "_2"), formats, strict=True):
        types |= {name + suffix: part and part.pointer for name, part in part_types(fmt).items()}
    types |= dict.fromkeys(("M", "N", "N_2", "K", "stored_rows", "stored_rows_2"), "i32")
    m, n = plan.constants["BLOCK_M"], plan.constants["BLOCK_N"]
    what = " and ".join(f"{name} {count}x{K} {fmt.name}" for name, count, fmt in zip(names, rows, formats, strict=True))
    weights = sum(matrix_nbytes(fmt, count, K) for fmt, count in zip(formats, rows, strict=True))
    return Specialization(
        name=f"matmul_pair_{names[0]}_{formats[0].name}_{names[1]}_{formats[1].name}_bf16_{tokens}",
        kernel=matmul_pair_kernel,
        signature={name: kind for name, kind in types.items() if kind is not None},
        constexprs=plan.constants | {name: None for name, kind in types.items() if kind is None},
        divisible_by_16=("N", "N_2", "K", "stored_rows", "stored_rows_2"),
        num_warps=plan.options["num_warps"],
        num_stages=plan.options["num_stages"],
        grid=(f"(M + {m - 1}) / {m}", f"(N + {n - 1}) / {n} + (N_2 + {n - 1}) / {n}", str(plan.constants["SPLITS"])),
        shape=f"{what}, {tokens} token{'s' * (tokens > 1)}",
        bytes_moved=weights + 2 * tokens * K + 4 * plan.constants["SPLITS"] * tokens * sum(rows),
        operations=2 * tokens * sum(rows) * K,
        weight_arguments=("words", "words_2"),
    )
