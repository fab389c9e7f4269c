"""The two products of a mixture of experts, from quantized weights: few tokens without sorting, many grouped by expert.

    gate_up   [pairs, ffn] = silu(gate) * up, both from one tile, as 16 rows of the gate and 16 of up take turns
    down      [pairs, hidden] float32 = product * the router's weight

A pair is a token and one of its experts. With few tokens hardly two share an expert, and a program takes one pair and
a block of rows. With many, `moe_align` has put the pairs of an expert into whole blocks, and a program takes one block.
SiLU lies in the epilogue of the first product, not in the loads of the second: there every block of rows would compute
it again, and its operands would not be one 128-bit load.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from qwen3edge.kernels.arguments import WORKING_TYPES, expect
from qwen3edge.kernels.configuration import configuration, target_of
from qwen3edge.kernels.errors import KernelShapeError
from qwen3edge.kernels.matmul_launch import check_gated
from qwen3edge.kernels.matmul_parts import MatrixParts, check_parts, matrix_nbytes, part_types
from qwen3edge.kernels.matmul_plan import FEW_SUMS, LaunchPlan, half_constants
from qwen3edge.kernels.matmul_tiles import accumulate_dense, accumulate_tiles, gated
from qwen3edge.kernels.moe_align import moe_align
from qwen3edge.kernels.packing import DeviceMatrix
from qwen3edge.kernels.panels import PANEL_ROWS, PackedFormat, packed_format
from qwen3edge.kernels.specialization import ModelShape, Specialization

_FEW = 4  # vLLM sorts from here on: tokens * top_k * _FEW > experts


@triton.jit(do_not_specialize=["pairs"])
def moe_matmul_kernel(
    x,  # [pairs / X_SHARE, K] float16 or bfloat16
    words,  # int16 [experts, stored_rows, tiles * 32], 8 bits: * 64; BITS = 0: weights [experts, N, K]
    high,  # uint8 [experts, stored_rows, tiles * 32] or None
    scales,  # [experts, tiles, stored_rows]; blocks of 256: one row for two tiles
    offsets,  # like scales, or None
    steps,  # [experts, tiles, stored_rows] or None
    weights,  # [pairs] float32: what products are multiplied with, or None: gate and up
    order,  # [blocks * BLOCK_M] int32: pairs by expert, or None: a block is one pair
    owners,  # [blocks] int32: the expert of a block, -1 for none
    y,  # [pairs, N] float32; gate and up: [pairs, N / 2] in the type of x
    pairs,
    N,
    K,
    stored_rows,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
    STEP_GROUP: tl.constexpr,
    EVEN_K: tl.constexpr,
    SCALE_WEIGHTS: tl.constexpr,
    HALF_CODES: tl.constexpr,
    PTX: tl.constexpr,
    X_SHARE: tl.constexpr,  # pairs that share a row of x: top_k, or 1
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    block = tl.program_id(0)
    expert = tl.load(owners + block).to(tl.int64)
    if expert >= 0:
        lane = tl.arange(0, BLOCK_M)
        # Without order one row, in a tile that the smallest matrix instruction wants wider.
        pair = tl.where(lane == 0, block, pairs) if order is None else tl.load(order + block * BLOCK_M + lane)
        x_mask = pair < pairs
        n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
        w_mask = n < N
        x_rows = x + (pair // X_SHARE).to(tl.int64) * K
        acc = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
        if BITS == 0:
            rows = words + (expert * N + tl.minimum(n, N - 1)) * K
            acc = accumulate_dense(acc, x_rows, x_mask, rows, K, 0, tl.cdiv(K, 128), True)
        else:
            tiles = tl.cdiv(K, 128)
            there = tl.minimum(n, N - 1)  # as in matmul_a16
            row = expert * stored_rows + there
            scale_rows = tl.cdiv(tiles, 2) if BLOCK == 256 else tiles
            acc = accumulate_tiles(
                acc,
                x_rows,
                x_mask,
                words + row * (tiles * (64 if BITS == 8 else 32)),
                high + row * (tiles * 32) if high is not None else None,
                scales + expert * scale_rows * stored_rows + n,
                offsets + expert * scale_rows * stored_rows + n if offsets is not None else None,
                steps + expert * tiles * stored_rows + there if steps is not None else None,
                w_mask,
                stored_rows,
                K,
                0,
                tiles,
                BITS,
                BLOCK,
                STEP_GROUP,
                EVEN_K,
                True,
                SCALE_WEIGHTS,
                HALF_CODES,
                PTX,
            )
        to = y + pair.to(tl.int64)[None, :] * (N // 2 if weights is None else N)
        if weights is None:
            value = gated(acc, BLOCK_M, BLOCK_N, True)
            column = tl.program_id(1) * (BLOCK_N // 2) + tl.arange(0, BLOCK_N // 2)
            inside = (column < N // 2)[:, None] & x_mask[None, :]
            tl.store(to + column[:, None], value.to(y.dtype.element_ty), mask=inside)
        else:
            share = tl.load(weights + pair, mask=x_mask, other=0.0)
            tl.store(to + n[:, None], acc * share[None, :], mask=w_mask[:, None] & x_mask[None, :])


def takes_few(tokens: int, top_k: int, experts: int) -> bool:
    """Whether pairs are not worth sorting."""
    return tokens * top_k * _FEW <= experts


def moe_feed_forward(
    x: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor, gate_up: DeviceMatrix, down: DeviceMatrix
) -> torch.Tensor:
    """What every expert of every token adds: float32 [tokens * top_k, hidden], to be combined by `moe_combine`.

    x: [tokens, hidden] float16 or bfloat16; ids int32 and weights float32 [tokens, top_k], of `moe_router`; gate_up and
    down: batches of experts, gate_up with 16 rows of the gate and 16 of up in turn. Rows of an id of -1 are left
    undefined. Raises KernelTypeError and KernelShapeError.
    """
    for name, matrix in (("gate_up", gate_up), ("down", down)):
        if matrix.experts is None:
            raise KernelShapeError(f"{name}: expected a batch of experts, found a single matrix")
    expect("x", x, WORKING_TYPES, (None, gate_up.columns))
    if (down.experts, down.columns) != (gate_up.experts, gate_up.rows // 2):
        raise KernelShapeError(
            f"down: expected {gate_up.experts} experts of {gate_up.rows // 2} columns, "
            f"found {down.experts} of {down.columns}"
        )
    order, owners, block = None, ids.flatten(), 0
    if not takes_few(len(x), ids.shape[1], gate_up.experts):
        block = block_of(triton.cdiv(ids.numel(), gate_up.experts), x.device)
        order, owners = moe_align(ids, gate_up.experts, block)
    hidden = moe_gate_up(x, ids, order, owners, *MatrixParts.of(gate_up), gate_up.format, gate_up.rows, block)
    return moe_down(hidden, ids, weights, order, owners, *MatrixParts.of(down), down.format, down.rows, block)


@torch.library.custom_op("qwen3edge::moe_gate_up", mutates_args=())
def moe_gate_up(
    x: torch.Tensor,
    ids: torch.Tensor,
    order: torch.Tensor | None,
    owners: torch.Tensor,
    words: torch.Tensor,
    high: torch.Tensor | None,
    scales: torch.Tensor | None,
    offsets: torch.Tensor | None,
    steps: torch.Tensor | None,
    format: str,
    rows: int,
    block: int,
) -> torch.Tensor:
    """silu(gate) * up [tokens * top_k, rows / 2] of x [tokens, K]; the parts are those of a batch of experts.

    order and owners are of `moe_align` for that block; without order, owners are the ids. Raises KernelTypeError,
    KernelShapeError.
    """
    check_gated(rows)
    expect("x", x, WORKING_TYPES, (ids.shape[0], None))
    y = x.new_empty((ids.numel(), rows // 2))
    parts = MatrixParts(words, high, scales, offsets, steps)
    _launch(x, ids, order, owners, parts, None, y, format, rows, block)
    return y


@moe_gate_up.register_fake
def _(x, ids, order, owners, words, high, scales, offsets, steps, format, rows, block):
    return x.new_empty((ids.numel(), rows // 2))


@torch.library.custom_op("qwen3edge::moe_down", mutates_args=())
def moe_down(
    x: torch.Tensor,
    ids: torch.Tensor,
    weights: torch.Tensor,
    order: torch.Tensor | None,
    owners: torch.Tensor,
    words: torch.Tensor,
    high: torch.Tensor | None,
    scales: torch.Tensor | None,
    offsets: torch.Tensor | None,
    steps: torch.Tensor | None,
    format: str,
    rows: int,
    block: int,
) -> torch.Tensor:
    """Weighted products float32 [tokens * top_k, rows] of x [tokens * top_k, K]; as `moe_gate_up` otherwise."""
    expect("x", x, WORKING_TYPES, (ids.numel(), None))
    expect("weights", weights, (torch.float32,), tuple(ids.shape), x)
    y = x.new_empty((ids.numel(), rows), dtype=torch.float32)
    parts = MatrixParts(words, high, scales, offsets, steps)
    _launch(x, ids, order, owners, parts, weights, y, format, rows, block)
    return y


@moe_down.register_fake
def _(x, ids, weights, order, owners, words, high, scales, offsets, steps, format, rows, block):
    return x.new_empty((ids.numel(), rows), dtype=torch.float32)


def _launch(
    x: torch.Tensor,
    ids: torch.Tensor,
    order: torch.Tensor | None,
    owners: torch.Tensor,
    parts: MatrixParts,
    weights: torch.Tensor | None,
    y: torch.Tensor,
    format: str,
    rows: int,
    block: int,
) -> None:
    fmt, (tokens, top_k), K = packed_format(format), ids.shape, x.shape[1]
    if fmt.kind == "dense":
        expect("words", parts.words, (torch.float32, *WORKING_TYPES), (None, rows, K), x)
    else:
        check_parts(x, parts, fmt, rows, (None,))
    experts = parts.words.shape[0]
    expect("ids", ids, (torch.int32,), (None, None), x)
    expect("owners", owners, (torch.int32,), (None,), x)
    if order is not None:
        expect("order", order, (torch.int32,), (len(owners) * block,), x)
    elif len(owners) != ids.numel():
        raise KernelShapeError(f"owners: expected the {ids.numel()} ids, found {len(owners)}")
    if tokens == 0:
        return
    share = 1 if weights is not None else top_k
    target = target_of(x.device)
    plan = moe_plan(fmt, tokens * top_k, rows, K, experts, share, order is not None, x.dtype, target)
    if order is not None and plan.constants["BLOCK_M"] != block:
        raise KernelShapeError(f"block: expected {plan.constants['BLOCK_M']} for that many pairs, found {block}")
    grid = (len(owners), triton.cdiv(rows, plan.constants["BLOCK_N"]))
    stored = triton.cdiv(rows, PANEL_ROWS) * PANEL_ROWS
    moe_matmul_kernel[grid](
        x, *parts, weights, order, owners, y, tokens * top_k, rows, K, stored, **plan.constants, **plan.options
    )


@torch.compiler.assume_constant_result
def block_of(pairs: int, device: torch.device) -> int:
    """Pairs of a block where an expert has so many in the mean."""
    return configuration("moe_grouped", target_of(device), pairs)["BLOCK_M"]


def moe_plan(
    fmt: PackedFormat,
    pairs: int,
    rows: int,
    K: int,
    experts: int,
    share: int,
    grouped: bool,
    dtype: torch.dtype,
    target: str,
) -> LaunchPlan:
    """The configuration of the target, and what follows from format and shape."""
    entry = configuration("moe_grouped" if grouped else "moe_few", target, triton.cdiv(pairs, experts))
    constants = half_constants(fmt, K, entry["BLOCK_M"] > FEW_SUMS, dtype, target)
    constants |= {"X_SHARE": share, "BLOCK_M": entry["BLOCK_M"], "BLOCK_N": entry["BLOCK_N"]}
    options = {"num_warps": entry["num_warps"], "num_stages": entry["num_stages"], "enable_fp_fusion": True}
    return LaunchPlan(constants, options)


def specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """Both products for one token, for a short and a whole chunk of a prompt; none for a dense model."""
    if not shape.experts:
        return []
    kinds = [(formats[f"ffn_{part}_exps.weight"], part) for formats in shape.formats for part in ("gate_up", "down")]
    return [
        _specialization(shape, target, packed_format(format), tokens, part == "down")
        for format, part in dict.fromkeys(kinds)
        for tokens in (1, 64, 512)
    ]


def _specialization(shape: ModelShape, target: str, fmt: PackedFormat, tokens: int, down: bool) -> Specialization:
    K, rows = shape.hidden, 2 * shape.expert_feed_forward
    if down:
        K, rows = shape.expert_feed_forward, shape.hidden
    pairs, grouped = tokens * shape.experts_per_token, not takes_few(tokens, shape.experts_per_token, shape.experts)
    share = 1 if down else shape.experts_per_token
    plan = moe_plan(fmt, pairs, rows, K, shape.experts, share, grouped, torch.bfloat16, target)
    types = {
        "x": "*bf16",
        **{name: part and part.pointer for name, part in part_types(fmt).items()},
        "weights": "*fp32" if down else None,
        "order": "*i32" if grouped else None,
        "owners": "*i32",
        "y": "*fp32" if down else "*bf16",
        **dict.fromkeys(("pairs", "N", "K", "stored_rows"), "i32"),
    }
    busy = min(shape.experts, pairs)
    block_n = plan.constants["BLOCK_N"]
    name = f"moe_{'down' if down else 'gate_up'}_{'grouped' if grouped else 'few'}"
    return Specialization(
        name=f"{name}_bf16_{fmt.name}_{plan.constants['BLOCK_M']}x{block_n}_{K}",
        kernel=moe_matmul_kernel,
        signature={name: kind for name, kind in types.items() if kind is not None},
        constexprs={name: None for name, kind in types.items() if kind is None} | plan.constants,
        divisible_by_16=("N", "K", "stored_rows"),
        num_warps=plan.options["num_warps"],
        num_stages=plan.options["num_stages"],
        grid=("blocks", f"(N + {block_n - 1}) / {block_n}", "1"),
        shape=f"{'down' if down else 'gate_up'} {rows}x{K} of {busy} experts, {tokens} token{'s' * (tokens > 1)}",
        bytes_moved=busy * matrix_nbytes(fmt, rows, K) + pairs * (2 * K // share + (4 * rows if down else rows)),
        operations=2 * pairs * rows * K,
        weight_arguments=("words",),
    )
