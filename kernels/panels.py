"""The packed panels of docs/format.md, read in torch: codes, float scales and steps of every block format.

The NumPy meaning of the same bytes is qwen3edge/formats/blocks.py; the tests compare the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from qwen3edge.kernels.errors import KernelShapeError, KernelTypeError

PANEL_ROWS = 16
SUPER_BLOCK = 256
PLANE_ALIGNMENT = 64
COLUMN_UNIT = 32


@dataclass(frozen=True)
class PackedFormat:
    """One block format as the kernels see it: weight = d * (s * code + z) + m."""

    name: str
    kind: str  # dense, q8, q4g, q4a, q4z, q6z
    bits: int  # of a code
    block: int  # values of K under one float scale; 0 when unquantized
    step_group: int = 0  # values of K under one integer step and offset; 0 without

    @property
    def column_unit(self) -> int:
        """What the columns must be a multiple of."""
        return self.block if self.kind in ("q4g", "q4a") else self.step_group or COLUMN_UNIT


PACKED_FORMATS = {
    f.name: f
    for f in (
        PackedFormat("f32", "dense", 32, 0),
        PackedFormat("bf16", "dense", 16, 0),
        PackedFormat("q8", "q8", 8, SUPER_BLOCK),
        PackedFormat("q8g32", "q8", 8, 32),
        *(PackedFormat(f"q4g{g}", "q4g", 4, g) for g in (32, 64, 128)),
        *(PackedFormat(f"q4a{g}", "q4a", 4, g) for g in (32, 64, 128)),
        *(PackedFormat(f"q4z{g}", "q4z", 4, SUPER_BLOCK, g) for g in (32, 64)),
        PackedFormat("q6z32", "q6z", 6, SUPER_BLOCK, 32),
    )
}


@dataclass(frozen=True)
class Panels:
    """A matrix as its bytes say; `rows` is a multiple of 16. Codes and steps are integers, not yet scaled."""

    codes: torch.Tensor  # uint8 (4 and 6 bits: 0..15, 0..63) or int8 (8 bits) [rows, columns]
    d: torch.Tensor  # float16 [blocks, rows]
    m: torch.Tensor | None  # float16 [blocks, rows], q4a
    s: torch.Tensor | None  # uint8 [step groups, rows], 1..16
    z: torch.Tensor | None  # int8 [step groups, rows]


def packed_format(name: str) -> PackedFormat:
    """Raises KernelTypeError for a format that is no matrix of ours."""
    try:
        return PACKED_FORMATS[name]
    except KeyError:
        raise KernelTypeError(f"format: expected one of {', '.join(PACKED_FORMATS)}, found {name!r}") from None


def check_packed(fmt: PackedFormat, packed: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """The bytes as [panels, bytes of a panel]; raises KernelTypeError and KernelShapeError."""
    if packed.dtype != torch.uint8:
        raise KernelTypeError(f"packed: expected uint8, found {packed.dtype}")
    unit = fmt.column_unit
    if rows < 1 or columns < 1 or columns % unit:
        raise KernelShapeError(
            f"{fmt.name}: expected rows > 0 and a multiple of {unit} columns, found {rows}x{columns}"
        )
    panels = -(-rows // PANEL_ROWS)
    size = panels * sum(_padded(size) for size in _plane_sizes(fmt, columns).values())
    if packed.numel() != size or not packed.is_contiguous():
        raise KernelShapeError(f"{fmt.name} {rows}x{columns}: expected {size} contiguous bytes, found {packed.numel()}")
    return packed.view(panels, -1)


def read_dense(fmt: PackedFormat, panels: torch.Tensor, columns: int) -> torch.Tensor:
    """[panels, bytes] of bf16 or f32 to [rows, columns] of that type."""
    dtype = torch.float32 if fmt.bits == 32 else torch.bfloat16
    values = _plane(panels, 0, _plane_sizes(fmt, columns)["w"]).view(dtype)
    return values.view(len(panels), columns, PANEL_ROWS).transpose(1, 2).reshape(-1, columns)


def read_panels(fmt: PackedFormat, panels: torch.Tensor, columns: int) -> Panels:
    """[panels, bytes] of a quantized format to codes and scales."""
    count, blocks = len(panels), -(-columns // fmt.block)
    planes, at = {}, 0
    for name, size in _plane_sizes(fmt, columns).items():
        planes[name] = _plane(panels, at, size)
        at += _padded(size)

    def by_row(plane: torch.Tensor) -> torch.Tensor:
        """[panels, blocks, 16] to [blocks, rows]."""
        return plane.view(count, -1, PANEL_ROWS).transpose(0, 1).reshape(-1, count * PANEL_ROWS)

    def by_group(plane: torch.Tensor) -> torch.Tensor:
        """[panels, blocks, groups / 4, 16, 4] to [groups that hold columns, rows]."""
        quads = plane.view(count, blocks, -1, PANEL_ROWS, 4).permute(1, 2, 4, 0, 3)
        return quads.reshape(-1, count * PANEL_ROWS)[: columns // fmt.step_group]

    s = z = None
    if fmt.kind == "q4z":
        per_block = SUPER_BLOCK // fmt.step_group
        nibbles = by_row(planes["s"].view(torch.int32 if fmt.step_group == 32 else torch.int16))
        shifts = 4 * torch.arange(per_block, device=panels.device, dtype=nibbles.dtype).view(1, -1, 1)
        s = (nibbles[:, None] >> shifts & 15).to(torch.uint8).view(-1, count * PANEL_ROWS)[
            : columns // fmt.step_group
        ] + 1
        z = by_group(planes["z"]).view(torch.int8)
    elif fmt.kind == "q6z":
        sc = by_group(planes["sc"])
        s = (sc & 3) + 1
        z = ((4 - s.to(torch.int16)) * (sc >> 2) - 128).to(torch.int8)
    return Panels(
        codes=_codes(fmt, planes, columns),
        d=by_row(planes["d"].view(torch.float16)),
        m=by_row(planes["m"].view(torch.float16)) if "m" in planes else None,
        s=s,
        z=z,
    )


def _codes(fmt: PackedFormat, planes: dict[str, torch.Tensor], columns: int) -> torch.Tensor:
    if fmt.kind == "q8":
        w8 = planes["w8"].view(torch.int8).view(-1, columns // 4, PANEL_ROWS, 4)
        return w8.transpose(1, 2).reshape(-1, columns)
    if fmt.kind == "q6z":
        q6 = planes["q6"].view(-1, columns // 16, 3, PANEL_ROWS, 4)
        fourth = q6[:, :, 0] >> 6 | q6[:, :, 1] >> 6 << 2 | q6[:, :, 2] >> 6 << 4
        quads = torch.cat([q6 & 63, fourth[:, :, None]], dim=2)  # [panels, columns / 16, 4, 16, 4]
        return quads.permute(0, 3, 1, 2, 4).reshape(-1, columns)
    q4 = planes["q4"].view(-1, columns // 8, PANEL_ROWS, 4)
    octets = torch.stack([q4 & 15, q4 >> 4], dim=3)  # [panels, columns / 8, 16, 2, 4]
    return octets.transpose(1, 2).reshape(-1, columns)


def _plane_sizes(fmt: PackedFormat, columns: int) -> dict[str, int]:
    """Bytes of each plane of a panel, in order, without padding."""
    if fmt.kind == "dense":
        return {"w": columns * PANEL_ROWS * fmt.bits // 8}
    blocks = -(-columns // fmt.block)
    sizes = {"d": blocks * PANEL_ROWS * 2}
    if fmt.kind == "q4a":
        sizes["m"] = blocks * PANEL_ROWS * 2
    if fmt.kind == "q4z":
        per_block = SUPER_BLOCK // fmt.step_group
        sizes["s"] = blocks * PANEL_ROWS * per_block // 2
        sizes["z"] = blocks * PANEL_ROWS * per_block
    if fmt.kind == "q6z":
        sizes["sc"] = blocks * PANEL_ROWS * (SUPER_BLOCK // fmt.step_group)
    name = {"q8": "w8", "q6z": "q6"}.get(fmt.kind, "q4")
    sizes[name] = columns * PANEL_ROWS * fmt.bits // 8
    return sizes


def _padded(size: int) -> int:
    return -(-size // PLANE_ALIGNMENT) * PLANE_ALIGNMENT


def _plane(panels: torch.Tensor, at: int, size: int) -> torch.Tensor:
    """A contiguous copy, uint8 [panels, size]."""
    return panels[:, at : at + size].contiguous()
