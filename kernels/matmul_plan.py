"""What the launcher of a product decides and checks, and which products a model runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import triton

from qwen3edge.kernels.arguments import WORKING_TYPES, expect
from qwen3edge.kernels.configuration import configuration
from qwen3edge.kernels.errors import KernelConfigurationError, KernelShapeError, KernelTypeError
from qwen3edge.kernels.packing import TILE
from qwen3edge.kernels.panels import PANEL_ROWS, PackedFormat
from qwen3edge.kernels.specialization import ModelShape

MAX_SPLITS = 16  # along K: beyond, the partial sums weigh more than the weights of a split
_KEYS = {"BLOCK_M", "BLOCK_N", "SWAPPED", "num_warps", "num_stages"}


@dataclass(frozen=True)
class MatrixShape:
    """A matrix of a model with the format that its int4 recipe gives it, and for how many tokens it runs."""

    name: str
    rows: int
    columns: int
    format: str
    tokens: tuple[int, ...]


def model_matrices(shape: ModelShape) -> list[MatrixShape]:
    """The dense products of a model, stacked where they share an input; of gate and up also in other formats."""
    every, last = (1, 8, 512), (1, 8)  # the head runs for the last token of a prompt only
    attention = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    matrices = [
        MatrixShape("qkv", attention, shape.hidden, "q4z32", every),
        MatrixShape("output", shape.hidden, shape.heads * shape.head_dim, "q4z32", every),
        MatrixShape("head", shape.vocabulary, shape.hidden, "q6z32", last),
    ]
    if shape.feed_forward:
        gate_up = 2 * shape.feed_forward
        matrices += [
            MatrixShape("gate_up", gate_up, shape.hidden, name, every) for name in ("q4z32", "q4g128", "q4g32", "q8")
        ]
        matrices.append(MatrixShape("down", shape.hidden, shape.feed_forward, "q4z32", every))
    return matrices


def scale_types(fmt: PackedFormat) -> tuple[str, str | None]:
    """Triton's types of the words that hold scales and steps."""
    words = {32: "*i64", 64: "*i32"}
    return words.get(fmt.block, "*fp32"), words.get(fmt.step_group)


def matrix_nbytes(fmt: PackedFormat, rows: int, columns: int) -> int:
    """Bytes of a `DeviceMatrix`."""
    tiles = triton.cdiv(columns, TILE)
    stored = triton.cdiv(rows, PANEL_ROWS) * PANEL_ROWS
    scale = {32: 8, 64: 4}.get(fmt.block, 4) * (triton.cdiv(tiles, 2) if fmt.block == 2 * TILE else tiles)
    step = {32: 8, 64: 4}.get(fmt.step_group, 0) * tiles
    return stored * (tiles * TILE * fmt.bits // 8 + scale * (2 if fmt.kind == "q4a" else 1) + step)


@dataclass(frozen=True)
class LaunchPlan:
    """Constants of the kernel and options of the compiler for one shape."""

    constants: dict[str, Any]
    options: dict[str, Any]

    @property
    def grid(self) -> tuple[str, str, str]:
        """As `Specialization` has it."""
        m, n = self.constants["BLOCK_M"], self.constants["BLOCK_N"]
        return (f"(M + {m - 1}) / {m}", f"(N + {n - 1}) / {n}", str(self.constants["SPLITS"]))


def launch_plan(
    op: str, fmt: PackedFormat, M: int, N: int, K: int, target: str, entry: Mapping[str, int] | None = None
) -> LaunchPlan:
    """The configuration of the target for "matmul_a16" or "matmul_a8" (or `entry`), and what follows from the shape."""
    entry = dict(configuration(op, target, M) if entry is None else entry)
    programs = entry.pop("programs", 0)
    if set(entry) != _KEYS:
        raise KernelConfigurationError(f"{op}: expected {sorted(_KEYS)} for {target}, found {sorted(entry)}")
    if op == "matmul_a8" and fmt.block < TILE:
        # Integer sums of several blocks live at once: 64 tokens spill on sm_90, 128 rows and q4a's 32 tokens on gfx942.
        entry["BLOCK_M"] = min(entry["BLOCK_M"], 16 if fmt.kind == "q4a" else 32)
        entry["BLOCK_N"] = min(entry["BLOCK_N"], 64)
    block_m, block_n = entry["BLOCK_M"], entry["BLOCK_N"]
    # Few programs leave most of the device idle: K is split until there are enough, but into whole pairs of tiles.
    alone = triton.cdiv(M, block_m) * triton.cdiv(N, block_n)
    pairs = triton.cdiv(K, 2 * TILE)
    splits = min(triton.next_power_of_2(max(1, programs // alone)), MAX_SPLITS, pairs)
    splits = triton.cdiv(pairs, triton.cdiv(pairs, splits))  # no split without a tile
    constants = {
        "BITS": fmt.bits,
        "BLOCK": fmt.block,
        "STEP_GROUP": fmt.step_group,
        "EVEN_K": K % max(TILE, fmt.block) == 0,
        "SWAPPED": bool(entry["SWAPPED"]),
        "PTX": target.startswith("sm_"),
        "BLOCK_M": block_m,
        "BLOCK_N": block_n,
        "SPLITS": splits,
    }
    options = {"num_warps": entry["num_warps"], "num_stages": entry["num_stages"], "enable_fp_fusion": True}
    return LaunchPlan(constants, options)


def half_plan(
    fmt: PackedFormat,
    M: int,
    N: int,
    K: int,
    dtype: torch.dtype,
    target: str,
    entry: Mapping[str, int] | None = None,
) -> LaunchPlan:
    """`launch_plan` of matmul_a16, with what it has besides."""
    plan = launch_plan("matmul_a16", fmt, M, N, K, target, entry)
    emulated = dtype == torch.bfloat16 and target.startswith("gfx")
    # A sum of few columns costs less to scale than the weights, and so does any sum where bf16 products are emulated;
    # an offset can only be added to weights.
    many = plan.constants["BLOCK_M"] > 16 and not emulated
    plan.constants["SCALE_WEIGHTS"] = fmt.kind == "q4a" or (fmt.block < TILE and many)
    plan.constants["HALF_CODES"] = emulated
    plan.constants["EVEN_K"] = K % TILE == 0
    return plan


def check_matrix(
    x: torch.Tensor,
    words: torch.Tensor,
    high: torch.Tensor | None,
    scales: torch.Tensor,
    offsets: torch.Tensor | None,
    steps: torch.Tensor | None,
    residual: torch.Tensor | None,
    fmt: PackedFormat,
    rows: int,
) -> None:
    """Raises KernelTypeError or KernelShapeError unless the tensors are parts of such a matrix and fit x [M, K]."""
    if fmt.kind == "dense":
        raise KernelTypeError(f"format: expected a quantized one, found {fmt.name}")
    K = x.shape[1]
    if K == 0 or K % fmt.column_unit:
        raise KernelShapeError(f"x: expected a multiple of {fmt.column_unit} columns for {fmt.name}, found {K}")
    tiles = triton.cdiv(K, TILE)
    stored = triton.cdiv(rows, PANEL_ROWS) * PANEL_ROWS
    expect("words", words, (torch.int16,), (stored, tiles * (64 if fmt.bits == 8 else 32)), x)
    scale_type = {32: torch.int64, 64: torch.int32}.get(fmt.block, torch.float32)
    expect("scales", scales, (scale_type,), (triton.cdiv(tiles, 2) if fmt.block == 2 * TILE else tiles, stored), x)
    step_type = torch.int64 if fmt.step_group == 32 else torch.int32
    optional = (
        ("high", high, fmt.bits == 6, torch.uint8, (stored, tiles * 32)),
        ("offsets", offsets, fmt.kind == "q4a", scale_type, (tiles, stored)),
        ("steps", steps, bool(fmt.step_group), step_type, (tiles, stored)),
    )
    for name, part, wanted, dtype, shape in optional:
        if (part is not None) != wanted:
            raise KernelTypeError(f"{name}: expected {'a tensor' if wanted else 'none'} for {fmt.name}")
        if part is not None:
            expect(name, part, (dtype,), shape, x)
    if residual is not None:
        expect("residual", residual, (*WORKING_TYPES, torch.float32), (x.shape[0], rows), x)
