"""The weights that a `DeviceMatrix` stands for, from its planes."""

from __future__ import annotations

import torch

from qwen3edge.kernels.packing import SLAB, TILE, DeviceMatrix


def codes(matrix: DeviceMatrix) -> torch.Tensor:
    """What the float scale multiplies, without the offset of q4a: int32 [stored_rows, T * 128]."""
    fmt, rows = matrix.packed_format, matrix.stored_rows
    assert matrix.words is not None
    if fmt.bits == 8:
        pairs = matrix.words.view(torch.int8).view(rows, matrix.tiles * 2, SLAB, 2)
        return pairs.transpose(2, 3).reshape(rows, -1).to(torch.int32)
    words = matrix.words.to(torch.int32).view(rows, matrix.tiles, 1, SLAB)
    planes = torch.arange(4, device=words.device).view(1, 1, 4, 1)
    q = words >> (4 * planes) & 15
    if matrix.high is not None:
        q = q | (matrix.high.to(torch.int32).view(rows, matrix.tiles, 1, SLAB) >> (2 * planes) & 3) << 4
    q = q.view(rows, -1)
    if matrix.steps is None:
        return q - 8
    steps = _halves(matrix.steps)  # [groups, rows]
    s, z = steps & 255, (steps >> 8 & 255) - 128
    group = fmt.step_group
    return s.T.repeat_interleave(group, dim=1) * q + z.T.repeat_interleave(group, dim=1)


def weights(matrix: DeviceMatrix) -> torch.Tensor:
    """float32 [rows, columns]."""
    if matrix.dense is not None:
        return matrix.dense.float()
    values = _per_column(matrix, matrix.scales) * codes(matrix).float()
    if matrix.offsets is not None:
        values = values + _per_column(matrix, matrix.offsets)
    return values[: matrix.rows, : matrix.columns]


def _per_column(matrix: DeviceMatrix, scales: torch.Tensor | None) -> torch.Tensor:
    assert scales is not None
    block = matrix.packed_format.block
    if block < TILE:
        scales = _halves(scales).to(torch.int16).view(torch.float16).float()
    return scales.T.repeat_interleave(block, dim=1)[:, : matrix.tiles * TILE]


def _halves(words: torch.Tensor) -> torch.Tensor:
    """[T, rows] of words to their 16-bit parts, int32 [T * parts, rows]."""
    parts = words.contiguous().view(torch.int16).view(*words.shape, -1)  # [T, rows, parts]
    return parts.transpose(1, 2).reshape(-1, words.shape[1]).to(torch.int32)
