"""RMSNorm of the residual stream, with what comes before it (adding a sublayer's output) and after it (int8).

    residual += delta                                   # if given; or += delta[0] + delta[1] + .., sums of a split K
    y = residual / sqrt(mean(residual^2) + epsilon) * weight
    out = y in the working type, or int8 with one float32 scale in 256 values, as the CPU's kernels round activations

The residual stream is float32: the sums of the 8B exceed float16.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import triton
import triton.language as tl

from qwen3edge.kernels.arguments import WORKING_TYPES, expect
from qwen3edge.kernels.errors import KernelConfigurationError, KernelShapeError, KernelTypeError
from qwen3edge.kernels.matmul_plan import WIDE, split_counts
from qwen3edge.kernels.numerics import largest_magnitude, quants_of, scale_of
from qwen3edge.kernels.specialization import ModelShape, Specialization

QUANT_BLOCK = 256  # values under one scale: the block of `q4z` and `q8` (docs/format.md)
MAX_COLUMNS = 16384  # a row is held in registers: 128 a thread
_ELEMENTS_PER_THREAD = 16  # four loads of 16 bytes in flight; more threads would wait for the reduction
_MAX_WARPS = 8


@triton.jit
def rmsnorm_kernel(
    residual,  # [rows, columns] float32, written if there is a delta
    delta,  # [SPLITS, rows, columns] or None
    weight,  # [columns]
    out,  # [rows, columns]; int8 if scales are given
    scales,  # [rows, ceil(columns / 256)] float32 or None
    epsilon,
    columns,
    SPLITS: tl.constexpr,
    BLOCK: tl.constexpr,  # columns, rounded up to a power of two
    WHOLE: tl.constexpr,  # BLOCK == columns: no masks
):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    there = at < columns
    mask = None if WHOLE else there
    x = tl.load(residual + row * columns + at, mask=mask, other=None if WHOLE else 0.0)
    if delta is not None:
        added = tl.zeros((BLOCK,), tl.float32)
        for split in tl.static_range(SPLITS):
            part = delta + (split * tl.num_programs(0).to(tl.int64) + row) * columns + at
            added += tl.load(part, mask=mask, other=None if WHOLE else 0.0).to(tl.float32)
        x += added
        tl.store(residual + row * columns + at, x, mask=mask)
    squares = tl.sum(x * x, 0)
    # A sum that overflowed would make the row 0, which looks like an answer.
    inverse = tl.where(squares < float("inf"), tl.rsqrt(squares / columns + epsilon), float("nan"))
    y = x * inverse * tl.load(weight + at, mask=mask, other=None if WHOLE else 0.0).to(tl.float32)
    if scales is None:
        tl.store(out + row * columns + at, y.to(out.dtype.element_ty), mask=mask)
    else:
        blocks: tl.constexpr = BLOCK // 256
        tile = tl.reshape(y, [blocks, 256])
        scale, inverse_scale = scale_of(largest_magnitude(tile, 1))
        quants = tl.reshape(quants_of(tile, inverse_scale[:, None]), [BLOCK])
        tl.store(out + row * columns + at, quants, mask=mask)
        block = tl.arange(0, blocks)
        count = tl.cdiv(columns, 256)
        tl.store(scales + row * count + block, scale, mask=block < count)


def rmsnorm(
    residual: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype, delta: torch.Tensor | None = None
) -> torch.Tensor:
    """The normed residual [rows, columns] in `dtype` (a working type or float32); adds `delta` to the residual first.

    residual: [rows, columns] float32, changed in place if there is a delta; weight: [columns] float32, float16 or
    bfloat16; delta: [rows, columns], likewise, or [splits, rows, columns], which are added up first. Raises
    KernelTypeError, KernelShapeError.
    """
    if delta is None:
        return torch.ops.qwen3edge.rmsnorm(residual, weight, epsilon, dtype)
    return torch.ops.qwen3edge.add_rmsnorm(residual, delta, weight, epsilon, dtype)


def rmsnorm_quantize(
    residual: torch.Tensor, weight: torch.Tensor, epsilon: float, delta: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Like rmsnorm, as int8 [rows, columns] and float32 scales [rows, ceil(columns / 256)]: value = int8 * scale."""
    if delta is None:
        return torch.ops.qwen3edge.rmsnorm_quantize(residual, weight, epsilon)
    return torch.ops.qwen3edge.add_rmsnorm_quantize(residual, delta, weight, epsilon)


@torch.library.custom_op("qwen3edge::rmsnorm", mutates_args=())
def _rmsnorm(residual: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype) -> torch.Tensor:
    return _launch(residual, None, weight, epsilon, _out(residual, dtype), None)


@_rmsnorm.register_fake
def _(residual, weight, epsilon, dtype):
    return _out(residual, dtype)


@torch.library.custom_op("qwen3edge::add_rmsnorm", mutates_args=("residual",))
def _add_rmsnorm(
    residual: torch.Tensor, delta: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype
) -> torch.Tensor:
    return _launch(residual, delta, weight, epsilon, _out(residual, dtype), None)


@_add_rmsnorm.register_fake
def _(residual, delta, weight, epsilon, dtype):
    return _out(residual, dtype)


@torch.library.custom_op("qwen3edge::rmsnorm_quantize", mutates_args=())
def _rmsnorm_quantize(
    residual: torch.Tensor, weight: torch.Tensor, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    out, scales = _quantized(residual)
    return _launch(residual, None, weight, epsilon, out, scales), scales


@_rmsnorm_quantize.register_fake
def _(residual, weight, epsilon):
    return _quantized(residual)


@torch.library.custom_op("qwen3edge::add_rmsnorm_quantize", mutates_args=("residual",))
def _add_rmsnorm_quantize(
    residual: torch.Tensor, delta: torch.Tensor, weight: torch.Tensor, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    out, scales = _quantized(residual)
    return _launch(residual, delta, weight, epsilon, out, scales), scales


@_add_rmsnorm_quantize.register_fake
def _(residual, delta, weight, epsilon):
    return _quantized(residual)


def _out(residual: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    wanted = (torch.float32, *WORKING_TYPES)  # the router of experts reads float32
    if dtype not in wanted:
        raise KernelTypeError(f"dtype: expected {' or '.join(map(str, wanted))}, found {dtype}")
    return torch.empty_like(residual, dtype=dtype)


def _quantized(residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    blocks = -(-residual.shape[-1] // QUANT_BLOCK)
    scales = residual.new_empty((*residual.shape[:-1], blocks), dtype=torch.float32)
    return torch.empty_like(residual, dtype=torch.int8), scales


def _launch(
    residual: torch.Tensor,
    delta: torch.Tensor | None,
    weight: torch.Tensor,
    epsilon: float,
    out: torch.Tensor,
    scales: torch.Tensor | None,
) -> torch.Tensor:
    expect("residual", residual, (torch.float32,), (None, None))
    rows, columns = residual.shape
    if not 1 <= columns <= MAX_COLUMNS:
        raise KernelShapeError(f"residual: expected 1 to {MAX_COLUMNS} columns, found {columns}")
    splits = 1
    if delta is not None:
        splits = delta.shape[0] if delta.dim() == 3 else 1
        shape = (splits, rows, columns)[3 - delta.dim() :] if delta.dim() in (2, 3) else (rows, columns)
        expect("delta", delta, (torch.float32, *WORKING_TYPES), shape, residual)
    expect("weight", weight, (torch.float32, *WORKING_TYPES), (columns,), residual)
    if not epsilon > 0:
        raise KernelConfigurationError(f"epsilon: expected a number above 0, found {epsilon}")
    if rows:
        constants, warps = _constants(columns, scales is not None)
        rmsnorm_kernel[(rows,)](
            residual,
            delta,
            weight,
            out,
            scales,
            epsilon,
            columns,
            SPLITS=splits,
            **constants,
            num_warps=warps,
            num_stages=1,
            enable_fp_fusion=True,
        )
    return out


def _constants(columns: int, quantized: bool) -> tuple[Mapping[str, int | bool], int]:
    block = max(triton.next_power_of_2(columns), QUANT_BLOCK if quantized else 1)
    warps = min(max(block // (32 * _ELEMENTS_PER_THREAD), 1), _MAX_WARPS)
    return {"BLOCK": block, "WHOLE": block == columns}, warps


def specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """Without a sum and with one of as many splits as the model's products have, to bfloat16; to int8; for experts also
    to float32; one token.
    """
    splits = {0, 1, *split_counts(shape, target, WIDE)}
    kinds = [("bf16", count) for count in sorted(splits)] + [("i8", 0), ("i8", 1)]
    if shape.experts:
        kinds += [("f32", count) for count in sorted(splits - {0})]
    return [_specialization(shape.hidden, kind, count) for kind, count in kinds]


def _specialization(columns: int, kind: str, splits: int) -> Specialization:
    """splits: of the delta; 0: there is none."""
    pointer, nbytes = {"bf16": ("*bf16", 2), "i8": ("*i8", 1), "f32": ("*fp32", 4)}[kind]
    constants, warps = _constants(columns, kind == "i8")
    absent = {name: None for name, given in (("delta", splits), ("scales", kind == "i8")) if not given}
    types = {
        **dict.fromkeys(("residual", "delta", "weight", "scales"), "*fp32"),
        "out": pointer,
        "epsilon": "fp32",
        "columns": "i32",
    }
    name = f"{'add_' if splits else ''}rmsnorm{'_quantize' if kind == 'i8' else ''}"
    return Specialization(
        name=f"{name}_f32_{kind}_{columns}" + (f"_{splits}" if splits > 1 else ""),
        kernel=rmsnorm_kernel,
        signature={key: types[key] for key in rmsnorm_kernel.arg_names if key in types and key not in absent},
        constexprs={**absent, "SPLITS": max(splits, 1), **constants},
        divisible_by_16=("columns",),
        num_warps=warps,
        num_stages=1,
        grid=("rows", "1", "1"),
        shape=f"hidden {columns}, 1 token" + (f", {splits} splits" if splits > 1 else ""),
        # Residual, weight and out; the delta's parts, and the residual written.
        bytes_moved=columns * (4 + 4 + nbytes + (4 * splits + 4 if splits else 0)),
        operations=(4 + splits) * columns,
    )
