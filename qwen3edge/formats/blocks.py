"""What the packed bytes of each block format mean (docs/format.md), in NumPy: where planes lie, and their integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.errors import RequestError

PANEL_ROWS = 16
SUPER_BLOCK = 256
COLUMN_UNIT = 32
PLANE_ALIGNMENT = 64

Floats: TypeAlias = NDArray[np.float32]
Bytes: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class BlockFormat:
    """An entry of kBlockFormats in csrc/base/block_format.h."""

    name: str
    kind: str  # vector, f32, bf16, q8, q4g, q4a, q4z, q6z
    block: int  # values of K under one float scale; 0 when unquantized
    group: int  # values of K under the finest scale


def _kind(name: str, block: int) -> str:
    return name if not block else "q8" if name.startswith("q8") else name[:3]


BLOCK_FORMATS = {
    f["name"]: BlockFormat(f["name"], _kind(f["name"], f["block"]), f["block"], f["group"])
    for f in _core.block_formats()
}
"""By name, in the order of the core."""


@dataclass(frozen=True)
class Plane:
    """One plane of a panel."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int  # bytes from the start of the panel

    @property
    def nbytes(self) -> int:
        """Without padding."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


def block_format(name: str) -> BlockFormat:
    """Raises RequestError for an unknown name."""
    try:
        return BLOCK_FORMATS[name]
    except KeyError:
        raise RequestError(f"block format: expected one of {', '.join(BLOCK_FORMATS)}, found {name!r}") from None


def panel_planes(fmt: BlockFormat, columns: int) -> tuple[list[Plane], int]:
    """The planes of one panel in order, and the bytes of the whole."""
    blocks = -(-columns // fmt.block) if fmt.block else 0
    per_block = SUPER_BLOCK // fmt.group if fmt.group else 0
    kinds: list[tuple[str, str, tuple[int, ...]]] = []
    if fmt.block:
        kinds.append(("d", "<f2", (blocks, PANEL_ROWS)))
    if fmt.kind == "q4a":
        kinds.append(("m", "<f2", (blocks, PANEL_ROWS)))
    if fmt.kind == "q4z":
        kinds.append(("s", "<u4" if fmt.group == 32 else "<u2", (blocks, PANEL_ROWS)))
        kinds.append(("z", "<i1", (blocks, per_block // 4, PANEL_ROWS, 4)))
    if fmt.kind == "q6z":
        kinds.append(("sc", "<u1", (blocks, per_block // 4, PANEL_ROWS, 4)))
    if fmt.kind in ("f32", "bf16"):
        kinds.append(("w", "<f4" if fmt.kind == "f32" else "<u2", (columns, PANEL_ROWS)))
    elif fmt.kind == "q8":
        kinds.append(("w8", "<i1", (columns // 4, PANEL_ROWS, 4)))
    elif fmt.kind == "q6z":
        kinds.append(("q6", "<u1", (columns // 16, 3, PANEL_ROWS, 4)))
    else:
        kinds.append(("q4", "<u1", (columns // 8, PANEL_ROWS, 4)))
    planes, at = [], 0
    for name, dtype, shape in kinds:
        plane = Plane(name, np.dtype(dtype), shape, at)
        planes.append(plane)
        at += -(-plane.nbytes // PLANE_ALIGNMENT) * PLANE_ALIGNMENT
    return planes, at


# ---- Packed bytes to weights ----


def codes_of(fmt: BlockFormat, stored: dict[str, NDArray[Any]]) -> NDArray[np.int32]:
    """What the float scale multiplies: int32 [panels, columns, 16]."""
    if fmt.kind == "q8":
        w8: NDArray[np.int32] = stored["w8"].astype(np.int32).transpose(0, 1, 3, 2)
        return w8.reshape(len(w8), -1, PANEL_ROWS)
    if fmt.kind == "q6z":
        return _codes_of_q6z(fmt, stored)
    q4 = stored["q4"]  # [panels, columns / 8, 16, 4]
    q: NDArray[np.int32] = np.stack([q4 & 15, q4 >> 4], axis=2).astype(np.int32)  # [panels, octets, 2, 16, 4]
    q = q.transpose(0, 1, 2, 4, 3).reshape(len(q4), -1, PANEL_ROWS)
    if fmt.kind == "q4g":
        return q - 8
    if fmt.kind == "q4a":
        return q
    columns, per_block = q.shape[1], SUPER_BLOCK // fmt.group
    shifts = 4 * np.arange(per_block, dtype=np.uint32)[:, None]
    s = (stored["s"].astype(np.uint32)[:, :, None, :] >> shifts & 15).astype(
        np.int32
    ) + 1  # [panels, blocks, groups, 16]
    z = stored["z"].astype(np.int32).transpose(0, 1, 2, 4, 3)  # [panels, blocks, groups / 4, 4, 16]
    s, z = (x.reshape(len(q4), -1, PANEL_ROWS).repeat(fmt.group, axis=1)[:, :columns] for x in (s, z))
    codes: NDArray[np.int32] = s * q + z
    return codes


def _codes_of_q6z(fmt: BlockFormat, stored: dict[str, NDArray[Any]]) -> NDArray[np.int32]:
    q6 = stored["q6"].astype(np.int32)  # [panels, columns / 16, 3, 16, 4]
    fourth = q6[:, :, 0] >> 6 | q6[:, :, 1] >> 6 << 2 | q6[:, :, 2] >> 6 << 4
    q = np.concatenate([q6 & 63, fourth[:, :, None]], axis=2)  # [panels, columns / 16, 4, 16, 4]
    q = q.transpose(0, 1, 2, 4, 3).reshape(len(q6), -1, PANEL_ROWS)
    sc = stored["sc"].astype(np.int32).transpose(0, 1, 2, 4, 3)  # [panels, blocks, groups / 4, 4, 16]
    sc = sc.reshape(len(q6), -1, PANEL_ROWS).repeat(fmt.group, axis=1)[:, : q.shape[1]]
    s, c = (sc & 3) + 1, sc >> 2
    codes: NDArray[np.int32] = s * q + (4 - s) * c - 128
    return codes


def read_plane(panels: Bytes, plane: Plane) -> NDArray[Any]:
    """One plane of whole panels [panels, bytes]: [panels, *plane.shape]."""
    data = np.ascontiguousarray(panels[:, plane.offset : plane.offset + plane.nbytes])
    return data.view(plane.dtype).reshape(len(panels), *plane.shape)


def assemble(fmt: BlockFormat, columns: int, stored: dict[str, NDArray[Any]]) -> Bytes:
    """The packed bytes of planes given as [.., lanes]: a lane is a row, and there are whole panels of them."""
    planes, size = panel_planes(fmt, columns)
    count = stored[planes[0].name].shape[-1] // PANEL_ROWS
    panels = np.zeros((count, size), np.uint8)
    for plane in planes:
        panels[:, plane.offset : plane.offset + plane.nbytes] = _into_panels(plane, stored[plane.name], count)
    return panels.reshape(-1)


def _into_panels(plane: Plane, data: NDArray[Any], count: int) -> Bytes:
    """[.., lanes] to the bytes of each panel."""
    if plane.name == "w8":
        data = data.astype(np.int8).reshape(-1, 4, count, PANEL_ROWS).transpose(2, 0, 3, 1)
    elif plane.name == "q4":
        octets = data.astype(np.uint8).reshape(-1, 2, 4, count, PANEL_ROWS)
        data = (octets[:, 0] | octets[:, 1] << 4).transpose(2, 0, 3, 1)
    elif plane.name == "q6":
        quads = data.astype(np.uint8).reshape(-1, 4, 4, count, PANEL_ROWS)
        pairs = np.stack([quads[:, 3] >> 2 * i & 3 for i in range(3)], axis=1)
        data = (quads[:, :3] | pairs << 6).transpose(3, 0, 1, 4, 2)
    elif plane.name in ("z", "sc"):
        blocks = data.shape[0]
        data = data.astype(plane.dtype).reshape(blocks, -1, 4, count, PANEL_ROWS).transpose(3, 0, 1, 4, 2)
    else:
        data = data.reshape(-1, count, PANEL_ROWS).transpose(1, 0, 2)
    data = np.ascontiguousarray(data, plane.dtype)
    return data.view(np.uint8).reshape(count, -1)
