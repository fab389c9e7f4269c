"""Rows of a quantized matrix as float32: what tokens begin with."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from qwen3edge.kernels.arguments import expect
from qwen3edge.kernels.codes import block_scale, constant_step, read_step, scaled_codes, unit_of
from qwen3edge.kernels.configuration import configuration, target_of
from qwen3edge.kernels.errors import KernelShapeError
from qwen3edge.kernels.matmul_parts import MatrixParts, matrix_nbytes, part_types
from qwen3edge.kernels.packing import TILE, DeviceMatrix
from qwen3edge.kernels.panels import packed_format
from qwen3edge.kernels.specialization import ModelShape, Specialization

_WARPS = 4


@triton.jit(do_not_specialize=["count_tokens"])
def embedding_kernel(
    tokens,  # [count_tokens] int32
    words,  # int16 [stored_rows, tiles * 32], 8 bits: * 64
    high,  # uint8 [stored_rows, tiles * 32] or None
    scales,  # [tiles, stored_rows]; blocks of 256: one row for two tiles
    offsets,  # like scales, or None
    steps,  # [tiles, stored_rows] or None
    y,  # [count_tokens, columns] float32
    count_tokens,
    columns,
    stored_rows,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
    STEP_GROUP: tl.constexpr,
    TILES: tl.constexpr,  # of 128 values that a program takes, those of one token after those of another
):
    PLANES: tl.constexpr = 2 if BITS == 8 else 4
    PARTS: tl.constexpr = 4 // PLANES
    UNIT: tl.constexpr = unit_of(STEP_GROUP > 0, tl.float16)
    count = tl.cdiv(columns, 128)
    at = tl.program_id(0) * TILES + tl.arange(0, TILES)
    token = at // count
    tile = at % count
    there = token < count_tokens
    row = tl.load(tokens + token, mask=there, other=0).to(tl.int64)
    to_y = y + token.to(tl.int64)[:, None] * columns
    i = tl.arange(0, 32)[None, :]
    scale_word = tl.load(scales + (tile // 2 if BLOCK == 256 else tile) * stored_rows + row, mask=there, other=0)
    for slab in tl.static_range(4):
        word = (row * count * (PARTS * 32) + (tile * PARTS + slab // PLANES) * 32)[:, None] + i
        packed = tl.load(words + word, mask=there[:, None], other=0)
        top = 0
        if BITS == 6:
            top = tl.load(high + (row * count + tile)[:, None] * 32 + i, mask=there[:, None], other=0).to(tl.int16)
        if STEP_GROUP > 0:
            step_word = tl.load(steps + tile * stored_rows + row, mask=there, other=0)
            s, z = read_step(step_word, slab * 32 // STEP_GROUP, slab % PLANES, BITS, tl.float16, 0, False)
            s, z = s[:, None], z[:, None]
        else:
            s, z = constant_step(slab % PLANES, BITS, tl.float16, 0)
        w = scaled_codes(packed, top, s, z, slab % PLANES, BITS, STEP_GROUP > 0, tl.float16, False).to(tl.float32)
        w = w * (block_scale(scale_word, slab, BLOCK) * UNIT)[:, None]
        if offsets is not None:
            offset_word = tl.load(offsets + tile * stored_rows + row, mask=there, other=0)
            w += block_scale(offset_word, slab, BLOCK)[:, None]
        column = tile[:, None] * 128 + slab * 32 + i
        tl.store(to_y + column, w, mask=there[:, None] & (column < columns))


def embedding(tokens: torch.Tensor, matrix: DeviceMatrix) -> torch.Tensor:
    """tokens int32 [tokens], each below the matrix's rows -> float32 [tokens, columns].

    Raises KernelTypeError, KernelShapeError.
    """
    if matrix.experts is not None:
        raise KernelShapeError(f"matrix: expected a single one, found {matrix.experts} experts")
    expect("tokens", tokens, (torch.int32,), (None,))
    if matrix.dense is not None:
        return matrix.dense.index_select(0, tokens).float()
    return torch.ops.qwen3edge.embedding(tokens, *MatrixParts.of(matrix), matrix.format, matrix.columns)


@torch.library.custom_op("qwen3edge::embedding", mutates_args=())
def _embedding(
    tokens: torch.Tensor,
    words: torch.Tensor,
    high: torch.Tensor | None,
    scales: torch.Tensor,
    offsets: torch.Tensor | None,
    steps: torch.Tensor | None,
    format: str,
    columns: int,
) -> torch.Tensor:
    expect("words", words, (torch.int16,), (None, None), tokens)
    y = torch.empty(len(tokens), columns, dtype=torch.float32, device=tokens.device)
    if len(tokens):
        fmt = packed_format(format)
        tiles = configuration("embedding", target_of(tokens.device))["TILES"]
        grid = (triton.cdiv(len(tokens) * triton.cdiv(columns, TILE), tiles),)
        embedding_kernel[grid](
            tokens, words, high, scales, offsets, steps, y, len(tokens), columns, words.shape[0],
            fmt.bits, fmt.block, fmt.step_group, tiles, num_warps=_WARPS, num_stages=1, enable_fp_fusion=True,
        )  # fmt: skip
    return y


@_embedding.register_fake
def _(tokens, words, high, scales, offsets, steps, format, columns):
    return tokens.new_empty((len(tokens), columns), dtype=torch.float32)


def specializations(shape: ModelShape, target: str) -> list[Specialization]:
    """One token, in the formats of the model's embeddings."""
    tiles = configuration("embedding", target)["TILES"]
    found = []
    for name in dict.fromkeys(formats["token_embd.weight"] for formats in shape.formats):
        fmt = packed_format(name)
        types = {
            "tokens": "*i32",
            **{part: wanted and wanted.pointer for part, wanted in part_types(fmt).items()},
            "y": "*fp32",
            **dict.fromkeys(("count_tokens", "columns", "stored_rows"), "i32"),
        }
        found.append(
            Specialization(
                name=f"embedding_f32_{name}",
                kernel=embedding_kernel,
                signature={key: kind for key, kind in types.items() if kind is not None},
                constexprs={
                    **{key: None for key, kind in types.items() if kind is None},
                    "BITS": fmt.bits,
                    "BLOCK": fmt.block,
                    "STEP_GROUP": fmt.step_group,
                    "TILES": tiles,
                },
                divisible_by_16=("columns", "stored_rows"),
                num_warps=_WARPS,
                num_stages=1,
                grid=(f"(count_tokens * ((columns + {TILE - 1}) / {TILE}) + {tiles - 1}) / {tiles}", "1", "1"),
                shape=f"{shape.vocabulary}x{shape.hidden}, 1 token",
                bytes_moved=4 * shape.hidden + matrix_nbytes(fmt, 16, shape.hidden) // 16,
                operations=2 * shape.hidden,
            )
        )
    return found
