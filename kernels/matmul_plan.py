"""What the launcher of a product decides, and which products a model runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton

from qwen3edge.kernels.configuration import configuration
from qwen3edge.kernels.errors import KernelConfigurationError
from qwen3edge.kernels.packing import TILE
from qwen3edge.kernels.panels import PackedFormat, packed_format
from qwen3edge.kernels.specialization import ModelShape

FEW_SUMS = 16  # columns of sums up to which scales of less than a tile multiply them, not the weights
GATE_ROWS = 16  # rows of the gate, then as many of up, in turn (docs/format.md)
FEW_TOKENS = 32  # up to which a product may be split along K (kernels/configs)
MAX_SPLITS = 16  # along K: beyond, the partial sums weigh more than the weights of a split
_KEYS = {"BLOCK_M", "BLOCK_N", "SWAPPED", "num_warps", "num_stages"}


# How many tokens products run for: one of each group of entries in kernels/configs, which end at 8, 32 and 64 rows.
TOKENS = (1, 32, 64, 512)


# Whose results add to the residual stream.
WIDE = ("output", "down")


@dataclass(frozen=True)
class MatrixShape:
    """A matrix of a model, or neighbours of one format that are one; and for how many tokens it runs."""

    name: str
    rows: int
    columns: int
    format: str
    tokens: tuple[int, ...]
    gated: bool = False  # gate and up, 16 rows of both in turn
    paired: bool = False  # `matmul_pair` takes it with its neighbour


def model_matrices(shape: ModelShape) -> list[MatrixShape]:
    """The dense products of a model whose shape says its formats, stacked where they share an input and a format.

    Raises KernelConfigurationError for a shape without formats.
    """
    if not shape.formats:
        raise KernelConfigurationError(f"{shape.name}: expected the formats of its matrices, found none")
    qkv = part_rows(shape)
    sizes = [("attn", shape.hidden, qkv), ("attn", qkv["q"], {"output": shape.hidden})]
    if shape.feed_forward:
        sizes.append(("ffn", shape.hidden, {"gate": shape.feed_forward, "up": shape.feed_forward}))
        sizes.append(("ffn", shape.feed_forward, {"down": shape.hidden}))
    found = []
    for formats in shape.formats:
        for block, columns, rows in sizes:
            for format, run in itertools.groupby(rows, key=lambda part: formats[f"{block}_{part}.weight"]):
                names = list(run)
                found.append(
                    MatrixShape(
                        "_".join(names),
                        sum(rows[name] for name in names),
                        columns,
                        format,
                        TOKENS,
                        gated=names == ["gate", "up"],
                        paired="q" in rows and len(names) < len(rows),
                    )
                )
        # The head runs for rows whose logits are asked for, some at a time.
        found.append(MatrixShape("head", shape.vocabulary, shape.hidden, formats["output.weight"], TOKENS[:2]))
    return list(dict.fromkeys(found))


def split_counts(shape: ModelShape, target: str, names: Sequence[str]) -> set[int]:
    """In how many parts K of these matrices is cut, for any of their numbers of tokens, both kinds of activations."""
    return {
        launch_plan(op, packed_format(matrix.format), M, matrix.rows, matrix.columns, target).constants["SPLITS"]
        for matrix in model_matrices(shape)
        if matrix.name in names
        for M in matrix.tokens
        for op in ("matmul_a16", "matmul_a8")
    }


def qkv_split_counts(shape: ModelShape, target: str) -> set[int]:
    """Of queries, keys and values, in one launch whatever their formats."""
    rows = sum(part_rows(shape).values())
    formats = {formats["attn_q.weight"] for formats in shape.formats}
    plans = [
        launch_plan(op, packed_format(name), M, rows, shape.hidden, target)
        for op in ("matmul_a16", "matmul_a8")
        for name in formats
        for M in TOKENS
    ]
    return {plan.constants["SPLITS"] for plan in plans}


def part_rows(shape: ModelShape) -> dict[str, int]:
    """Rows of the matrices of queries, keys and values."""
    return {"q": shape.heads * shape.head_dim, **dict.fromkeys("kv", shape.kv_heads * shape.head_dim)}


@dataclass(frozen=True)
class LaunchPlan:
    """Constants of the kernel and options of the compiler for one shape."""

    constants: dict[str, Any]
    options: dict[str, Any]

    def many(self, fmt: PackedFormat) -> bool:
        """Whether a tile has so many columns of sums that scales of less than a tile multiply the weights."""
        # Eight bits spill on sm_87 where the weights of 32 columns are scaled.
        return bool(self.constants["BLOCK_M"] > (2 * FEW_SUMS if fmt.bits == 8 else FEW_SUMS))

    @property
    def grid(self) -> tuple[str, str, str]:
        """As `Specialization` has it."""
        m, n = self.constants["BLOCK_M"], self.constants["BLOCK_N"]
        return (f"(M + {m - 1}) / {m}", f"(N + {n - 1}) / {n}", str(self.constants["SPLITS"]))


def launch_plan(
    op: str,
    fmt: PackedFormat,
    M: int,
    N: int,
    K: int,
    target: str,
    entry: Mapping[str, int] | None = None,
    gated: bool = False,
) -> LaunchPlan:
    """The configuration of the target for "matmul_a16" or "matmul_a8" (or `entry`), and what follows from the shape.

    gated: the whole sums are needed where they end, so K is not split, and a tile has rows of gate and up.
    """
    entry = dict(configuration(op, target, M) if entry is None else entry)
    programs = entry.pop("programs", 0)
    if set(entry) != _KEYS:
        raise KernelConfigurationError(f"{op}: expected {sorted(_KEYS)} for {target}, found {sorted(entry)}")
    if op == "matmul_a8" and fmt.block < TILE:
        # Integer sums of several blocks live at once: 64 tokens spill on sm_90, 128 rows and q4a's 32 tokens on gfx942.
        entry["BLOCK_M"] = min(entry["BLOCK_M"], 16 if fmt.kind == "q4a" else 32)
        entry["BLOCK_N"] = min(entry["BLOCK_N"], 64)
    if gated and entry["BLOCK_N"] < 2 * GATE_ROWS:
        # As many warps as for fewer rows: with two each thread would load 8 bytes of the activations, not 16.
        entry["BLOCK_N"] = 2 * GATE_ROWS
    block_m, block_n = entry["BLOCK_M"], entry["BLOCK_N"]
    # Few programs leave most of the device idle: K is split until there are enough, but into whole pairs of tiles.
    alone = triton.cdiv(M, block_m) * triton.cdiv(N, block_n)
    pairs = triton.cdiv(K, 2 * TILE)
    splits = min(triton.next_power_of_2(max(1, programs // alone)), MAX_SPLITS, pairs)
    splits = 1 if gated else triton.cdiv(pairs, triton.cdiv(pairs, splits))  # no split without a tile
    constants = {
        **format_constants(fmt),
        "EVEN_K": K % max(TILE, fmt.block) == 0,
        "SWAPPED": bool(entry["SWAPPED"]),
        "PTX": target.startswith("sm_"),
        "BLOCK_M": block_m,
        "BLOCK_N": block_n,
        "SPLITS": splits,
        "GATED": gated,
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
    gated: bool = False,
) -> LaunchPlan:
    """`launch_plan` of matmul_a16, with what it has besides."""
    plan = launch_plan("matmul_a16", fmt, M, N, K, target, entry, gated)
    plan.constants.update(half_constants(fmt, K, plan.many(fmt), dtype, target))
    return plan


def format_constants(fmt: PackedFormat) -> dict[str, int]:
    """Bits 0: not quantized."""
    return {
        "BITS": 0 if fmt.kind == "dense" else fmt.bits,
        "BLOCK": fmt.block,
        "STEP_GROUP": fmt.step_group,
    }


def half_constants(fmt: PackedFormat, K: int, many: bool, dtype: torch.dtype, target: str) -> dict[str, Any]:
    """Constants of `accumulate_tiles` that follow from format, shape and target; many: more columns than FEW_SUMS."""
    emulated = dtype == torch.bfloat16 and target.startswith("gfx")
    return {
        **format_constants(fmt),
        "EVEN_K": K % TILE == 0,
        # A sum of few columns costs less to scale than the weights, and so does any sum where bf16 products are
        # emulated; an offset can only be added to weights.
        "SCALE_WEIGHTS": fmt.kind == "q4a" or (0 < fmt.block < TILE and many and not emulated),
        "HALF_CODES": emulated,
        "PTX": target.startswith("sm_"),
    }
