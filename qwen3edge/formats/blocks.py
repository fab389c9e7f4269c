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
Integers: TypeAlias = NDArray[np.int32]


@dataclass(frozen=True)
class BlockFormat:
    """An entry of kBlockFormats in csrc/base/block_format.h."""

    name: str
    kind: str  # vector, f32, bf16, q8, q4g, q4a, q4z, q6z
    block: int  # values of K under one float scale; 0 when unquantized
    group: int  # values of K under the finest scale

    @property
    def is_scaled(self) -> bool:
        """Whether a weight is an int8 times its float scale, without a minimum."""
        return self.block > 0 and self.kind != "q4a"


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

    @property
    def is_interleaved(self) -> bool:
        """Whether four bytes of each row lie side by side: [.., 16, 4]."""
        return len(self.shape) > 2


def block_format(name: str) -> BlockFormat:
    """Raises RequestError for an unknown name."""
    try:
        return BLOCK_FORMATS[name]
    except KeyError:
        raise RequestError(f"block format: expected one of {', '.join(BLOCK_FORMATS)}, found {name!r}") from None


def panel_planes(fmt: BlockFormat, columns: int) -> tuple[list[Plane], int]:
    """The planes of one panel of a matrix in order, scales first, and the bytes of the whole."""
    blocks = -(-columns // fmt.block) if fmt.block else 0
    groups = (blocks, SUPER_BLOCK // fmt.group // 4 if fmt.group else 0, PANEL_ROWS, 4)
    d, q4 = ("d", "<f2", (blocks, PANEL_ROWS)), ("q4", "<u1", (columns // 8, PANEL_ROWS, 4))
    found: dict[str, list[tuple[str, str, tuple[int, ...]]]] = {
        "f32": [("w", "<f4", (columns, PANEL_ROWS))],
        "bf16": [("w", "<u2", (columns, PANEL_ROWS))],
        "q8": [d, ("w8", "<i1", (columns // 4, PANEL_ROWS, 4))],
        "q4g": [d, q4],
        "q4a": [d, ("m", "<f2", (blocks, PANEL_ROWS)), q4],
        "q4z": [d, ("s", "<u4" if fmt.group == 32 else "<u2", (blocks, PANEL_ROWS)), ("z", "<i1", groups), q4],
        "q6z": [d, ("sc", "<u1", groups), ("q6", "<u1", (columns // 16, 3, PANEL_ROWS, 4))],
    }
    planes, at = [], 0
    for name, dtype, shape in found[fmt.kind]:
        plane = Plane(name, np.dtype(dtype), shape, at)
        planes.append(plane)
        at += -(-plane.nbytes // PLANE_ALIGNMENT) * PLANE_ALIGNMENT
    return planes, at


# ---- Packed bytes to planes of lanes, and back: a lane is a row ----


def read_lanes(panels: Bytes, plane: Plane) -> NDArray[Any]:
    """One plane of whole panels [panels, bytes]: [n, lanes]."""
    data = np.ascontiguousarray(panels[:, plane.offset : plane.offset + plane.nbytes])
    data = data.view(plane.dtype).reshape(len(panels), *plane.shape)
    if plane.is_interleaved:
        data = data.swapaxes(-1, -2)
    lanes: NDArray[Any] = np.moveaxis(data, 0, -2)  # [.., panels, 16], of interleaved ones [.., 4, panels, 16]
    lanes = lanes.reshape(*lanes.shape[:-2], -1)
    if plane.name == "q4":
        lanes = np.stack([lanes & 15, lanes >> 4], axis=1)  # [columns / 8, 2, 4, lanes]
    elif plane.name == "q6":
        fourth = lanes[:, 0] >> 6 | lanes[:, 1] >> 6 << 2 | lanes[:, 2] >> 6 << 4
        lanes = np.concatenate([lanes & 63, fourth[:, None]], axis=1)  # [columns / 16, 4, 4, lanes]
    return lanes.reshape(-1, lanes.shape[-1])


def read_planes(fmt: BlockFormat, panels: Bytes, columns: int) -> dict[str, NDArray[Any]]:
    """All planes of whole panels [panels, bytes] by name, as `read_lanes`."""
    return {plane.name: read_lanes(panels, plane) for plane in panel_planes(fmt, columns)[0]}


def write_lanes(panels: Bytes, plane: Plane, data: NDArray[Any]) -> None:
    """The inverse of `read_lanes`. data: [.., lanes]."""
    lanes, shape = data.shape[-1], plane.shape[:-1]
    if plane.is_interleaved:
        shape = (*plane.shape[:-2], 4)
    if plane.name == "q4":
        octets = data.astype(np.uint8).reshape(-1, 2, 4, lanes)
        data = octets[:, 0] | octets[:, 1] << 4
    elif plane.name == "q6":
        quads = data.astype(np.uint8).reshape(-1, 4, 4, lanes)
        pairs = np.stack([quads[:, 3] >> 2 * i & 3 for i in range(3)], axis=1)
        data = quads[:, :3] | pairs << 6
    data = np.moveaxis(data.reshape(*shape, len(panels), PANEL_ROWS), -2, 0)
    if plane.is_interleaved:
        data = data.swapaxes(-1, -2)
    stored = np.ascontiguousarray(data, plane.dtype).view(np.uint8)
    panels[:, plane.offset : plane.offset + plane.nbytes] = stored.reshape(len(panels), -1)


def assemble(fmt: BlockFormat, columns: int, stored: dict[str, NDArray[Any]]) -> Bytes:
    """The packed bytes of planes given as [.., lanes]; missing rows of the last panel are zero."""
    planes, size = panel_planes(fmt, columns)
    lanes = stored[planes[0].name].shape[-1]
    panels = np.zeros((-(-lanes // PANEL_ROWS), size), np.uint8)
    for plane in planes:
        data = stored[plane.name]
        if missing := -lanes % PANEL_ROWS:
            zero = 8 if plane.name == "q4" and fmt.kind == "q4g" else 0
            data = np.pad(data, [*[(0, 0)] * (data.ndim - 1), (0, missing)], constant_values=zero)
        write_lanes(panels, plane, data)
    return panels.reshape(-1)


# ---- Planes to weights ----


@dataclass(frozen=True)
class Levels:
    """What a code q from 0 to `top` means: step * q + low times the float scale. int32 [groups, lanes] each."""

    step: Integers
    low: Integers
    top: Integers
    first: int  # what is stored for code 0


def levels_of(fmt: BlockFormat, stored: dict[str, NDArray[Any]]) -> Levels:
    """stored: the planes of scales, as `read_lanes` gives them."""
    if fmt.kind == "q6z":
        sc = stored["sc"].astype(np.int32)
        step = (sc & 3) + 1
        return Levels(step, (4 - step) * (sc >> 2) - 128, np.full_like(step, 63), 0)
    if fmt.kind == "q4z":
        shifts = 4 * np.arange(SUPER_BLOCK // fmt.group, dtype=np.uint32)[:, None]
        step = (stored["s"].astype(np.uint32)[:, None] >> shifts & 15).astype(np.int32) + 1  # [blocks, groups, lanes]
        step, z = step.reshape(-1, step.shape[-1]), stored["z"].astype(np.int32)
        return Levels(step, z, np.minimum((127 - z) // step, 15), 0)
    low, top = {"q8": (-127, 254), "q4g": (-8, 15), "q4a": (0, 15)}[fmt.kind]
    step = np.ones(stored["d"].shape, np.int32)
    return Levels(step, low * step, top * step, -127 if fmt.kind == "q8" else 0)


def codes_of(fmt: BlockFormat, stored: dict[str, NDArray[Any]]) -> Integers:
    """What the float scale multiplies: int32 [columns, lanes]."""
    levels, quants = levels_of(fmt, stored), list(stored.values())[-1]
    step, low = (x.repeat(fmt.group, axis=0)[: len(quants)] for x in (levels.step, levels.low))
    codes: Integers = step * (quants.astype(np.int32) - levels.first) + low
    return codes


def as_float32(values: NDArray[Any]) -> Floats:
    """Widens float16 and bfloat16 (as uint16), exactly."""
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32, copy=False)
