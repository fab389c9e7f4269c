"""`DeviceMatrix`: a matrix of a .q3e file as the GPU kernels read it, repacked once when it is loaded.

K is padded to whole tiles of 128 values. A row of a tile is 32 words of 16 bits; a word holds values that lie 32 apart:

    4 bits   word i = codes of k = i (bits 0..3), i + 32 (4..7), i + 64 (8..11), i + 96 (12..15)
    6 bits   the low four bits as above, the two high ones so in 32 bytes: k = i (bits 0, 1), i + 32, i + 64, i + 96
    8 bits   two such rows, for 64 values each: word i = codes of k = i (low byte, two's complement), i + 32

So one load gives slabs of 32 values, operands of a dot product without a shuffle, and no slab crosses a group of 32, 64
or 128. What scales a tile's row lies in one word as well, so that it is loaded by one asynchronous copy:

    blocks of 32     int64, four float16        blocks of 64     int32, two float16
    blocks of 128    float32                    blocks of 256    float32, one for two tiles
    steps of 32      int64, four times (s, z + 128) in a byte each     steps of 64     int32, two times
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from qwen3edge.kernels.errors import KernelShapeError
from qwen3edge.kernels.panels import (
    PANEL_ROWS,
    PackedFormat,
    Panels,
    check_packed,
    packed_format,
    read_dense,
    read_panels,
)

TILE = 128  # values of K in a tile
SLAB = 32  # values of K that one plane of a tile holds
_CHUNK_WEIGHTS = 1 << 22  # repacked at once
_SCRATCH = 12  # bytes that repacking takes for each of these at most: codes, planes and words live side by side
_PARTS = ("words", "high", "scales", "offsets", "steps", "dense")


@dataclass(frozen=True)
class DeviceMatrix:
    """A quantized matrix on a device, [rows = outputs, columns = inputs], or a batch of them with `experts` set.

    Every tensor has the experts as its first dimension when there are any. `stored_rows` is `rows` filled up to a
    multiple of 16; T is the number of tiles. A weight is scale * (s * code + z) (steps), or scale * (code - 8) + offset
    (4 bits), or scale * code (8 bits).
    """

    format: str
    rows: int
    columns: int
    experts: int | None = None
    words: torch.Tensor | None = None  # int16 [stored_rows, T * 32], 8 bits: [stored_rows, T * 64]
    high: torch.Tensor | None = None  # uint8 [stored_rows, T * 32], 6 bits only
    scales: torch.Tensor | None = None  # int64 | int32 | float32 [T, stored_rows]; blocks of 256: [ceil(T / 2), ..]
    offsets: torch.Tensor | None = None  # like scales: m + 8 d, q4a only
    steps: torch.Tensor | None = None  # int64 | int32 [T, stored_rows], q4z and q6z only
    dense: torch.Tensor | None = None  # [rows, columns], unquantized formats only

    @property
    def packed_format(self) -> PackedFormat:
        """Bits, block and step group of the format."""
        return packed_format(self.format)

    @property
    def tiles(self) -> int:
        """Tiles of 128 values in a row."""
        return -(-self.columns // TILE)

    @property
    def stored_rows(self) -> int:
        """Rows that the tensors have."""
        return -(-self.rows // PANEL_ROWS) * PANEL_ROWS

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return next(part.device for part in self._parts().values())

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return sum(part.nbytes for part in self._parts().values())

    @classmethod
    def from_packed(
        cls,
        format: str,
        packed: torch.Tensor,
        rows: int,
        columns: int,
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> DeviceMatrix:
        """Repacks the bytes of a tensor of a .q3e file (uint8, docs/format.md).

        `dtype` is what unquantized matrices (bf16, f32) are stored as. Raises KernelTypeError and KernelShapeError.
        """
        return cls.stacked(format, [(packed, rows)], columns, device, dtype)

    @classmethod
    def stacked(
        cls,
        format: str,
        matrices: Sequence[tuple[torch.Tensor, int]],
        columns: int,
        device: torch.device | str,
        dtype: torch.dtype,
        in_turn: bool = False,
    ) -> DeviceMatrix:
        """One matrix of all rows in order, of the bytes and rows of each, for products with the same input: q, k and v.

        in_turn: 16 rows of the first and 16 of the second in turn, as gate and up of experts lie; both have as many, a
        multiple of 16. On the device lie the matrix and what `repacking_bytes` says, no more. Raises KernelTypeError,
        KernelShapeError.
        """
        fmt = packed_format(format)
        if not matrices:
            raise KernelShapeError("stacked: expected at least one matrix, found none")
        counts = [rows for _, rows in matrices]
        if in_turn and (len(counts) != 2 or counts[0] != counts[1] or counts[0] % PANEL_ROWS):
            raise KernelShapeError(
                f"stacked: expected two matrices of as many rows, a multiple of {PANEL_ROWS}, to lie in turn, "
                f"found {' and '.join(map(str, counts))} rows"
            )
        whole: dict[str, torch.Tensor] = {}
        begin = 0  # row of the whole
        for number, (packed, rows) in enumerate(matrices):
            panels = check_packed(fmt, packed, rows, columns)
            for start in range(0, len(panels), _chunk_panels(columns)):
                chunk = panels[start : start + _chunk_panels(columns)].to(device)
                if fmt.kind == "dense":
                    repacked = {"dense": read_dense(fmt, chunk, columns).to(dtype)}
                else:
                    repacked = _repack(fmt, read_panels(fmt, chunk, columns))
                first = start * PANEL_ROWS
                count = min(rows - first, len(chunk) * PANEL_ROWS)
                for name, part in repacked.items():
                    dim = _row_dimension(name)
                    if name not in whole:
                        whole[name] = _room(name, part, sum(counts))
                    target = whole[name]
                    source = part.narrow(dim, 0, count)
                    if in_turn:
                        # [.., pairs of panels, gate or up, 16, ..]
                        target = target.unflatten(dim, (-1, 2, PANEL_ROWS)).select(dim + 1, number)
                        source = source.unflatten(dim, (-1, PANEL_ROWS))
                        target.narrow(dim, start, source.shape[dim]).copy_(source)
                    else:
                        target.narrow(dim, begin + first, count).copy_(source)
            begin += rows
        return cls(format, sum(counts), columns, **whole)

    def split_experts(self, experts: int) -> DeviceMatrix:
        """The same weights as [experts, rows / experts, columns]; the rows of an expert must fill whole panels."""
        if self.experts is not None or experts < 1 or self.rows % experts or self.rows // experts % PANEL_ROWS:
            raise KernelShapeError(
                f"experts: expected {experts} times a multiple of {PANEL_ROWS} rows, "
                f"found {self.rows} rows{' split already' if self.experts is not None else ''}"
            )
        parts = {}
        for name, part in self._parts().items():
            if _row_dimension(name) == 0:
                parts[name] = part.view(experts, -1, part.shape[1])
            else:
                parts[name] = part.view(part.shape[0], experts, -1).transpose(0, 1).contiguous()
        return DeviceMatrix(self.format, self.rows // experts, self.columns, experts, **parts)

    def _parts(self) -> dict[str, torch.Tensor]:
        return {name: part for name in _PARTS if (part := getattr(self, name)) is not None}


def repacking_bytes(rows: int, columns: int) -> int:
    """What repacking a matrix takes on the device besides the matrix."""
    panels = min(_chunk_panels(columns), -(-rows // PANEL_ROWS))
    return _SCRATCH * panels * PANEL_ROWS * (-(-columns // TILE) * TILE)


def _chunk_panels(columns: int) -> int:
    return max(1, _CHUNK_WEIGHTS // (PANEL_ROWS * columns))


def _room(name: str, part: torch.Tensor, rows: int) -> torch.Tensor:
    """For the part of the whole matrix; zeros where its last panel is not full, as nothing else is written there."""
    shape = list(part.shape)
    stored = rows if name == "dense" else -(-rows // PANEL_ROWS) * PANEL_ROWS
    shape[_row_dimension(name)] = stored
    room = part.new_empty(shape)
    room.narrow(_row_dimension(name), rows, stored - rows).zero_()
    return room


def _row_dimension(name: str) -> int:
    return 1 if name in ("scales", "offsets", "steps") else 0


def _repack(fmt: PackedFormat, panels: Panels) -> dict[str, torch.Tensor]:
    rows, columns = panels.codes.shape
    tiles = -(-columns // TILE)
    codes = torch.nn.functional.pad(panels.codes.view(torch.uint8), (0, tiles * TILE - columns))
    parts = {}
    if fmt.bits == 8:
        pairs = codes.view(rows, tiles * 2, 2, SLAB).transpose(2, 3)  # [.., 32, (low byte, high byte)]
        parts["words"] = pairs.contiguous().view(torch.int16).view(rows, -1)
    else:
        planes = codes.view(rows, tiles, 4, SLAB)
        low = planes & 15
        pairs = torch.stack([low[:, :, 0] | low[:, :, 1] << 4, low[:, :, 2] | low[:, :, 3] << 4], dim=-1)
        parts["words"] = pairs.view(torch.int16).view(rows, -1)
        if fmt.bits == 6:
            top = planes >> 4
            high = top[:, :, 0] | top[:, :, 1] << 2 | top[:, :, 2] << 4 | top[:, :, 3] << 6
            parts["high"] = high.view(rows, -1)
    parts["scales"] = _scale_words(fmt, panels.d, tiles)
    if panels.m is not None:
        # Around the middle of the codes the offset is small, and rounds to little in bf16.
        centred = panels.m.float() + 8 * panels.d.float()
        parts["offsets"] = _scale_words(fmt, centred.to(torch.float16), tiles)
    if panels.s is not None and panels.z is not None:
        pairs = torch.stack([panels.s, panels.z.view(torch.uint8) ^ 0x80], dim=-1)  # [groups, rows, 2]
        parts["steps"] = _tile_words(pairs.view(torch.int16).squeeze(-1), TILE // fmt.step_group, tiles)
    return parts


def _scale_words(fmt: PackedFormat, scales: torch.Tensor, tiles: int) -> torch.Tensor:
    """float16 [blocks, rows] to one word a tile and row, or one for two tiles."""
    if fmt.block >= TILE:
        return scales.float()
    return _tile_words(scales.view(torch.int16), TILE // fmt.block, tiles)


def _tile_words(values: torch.Tensor, per_tile: int, tiles: int) -> torch.Tensor:
    """16-bit [groups, rows] to words of `per_tile` values [tiles, rows]; zeros past the end."""
    groups, rows = values.shape
    values = torch.nn.functional.pad(values, (0, 0, 0, tiles * per_tile - groups))
    words = values.view(tiles, per_tile, rows).transpose(1, 2).contiguous()
    return words.view({4: torch.int64, 2: torch.int32}[per_tile]).squeeze(-1)
