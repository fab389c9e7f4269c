"""GGUF's blocks as ours and ours as GGUF's: what holds the other's weights bit by bit, and what nearly does.

Planes are those of formats/blocks.py with the lanes (rows) last. Raw blocks are uint8 [rows, row_nbytes].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize as gguf_dequantize
from gguf.quants import quantize as gguf_quantize
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.errors import CheckpointError, RequestError
from qwen3edge.formats.blocks import (
    BLOCK_FORMATS,
    PANEL_ROWS,
    Bytes,
    assemble,
    block_format,
    codes_of,
    levels_of,
    read_planes,
)

GgmlType: TypeAlias = GGMLQuantizationType
Planes: TypeAlias = dict[str, NDArray[Any]]
_GROUP = 32  # of Q4_0, Q4_1, Q8_0 and the sub-blocks of the K-quants


# ---- GGUF in ----


@dataclass(frozen=True)
class Incoming:
    """What a GGUF type becomes."""

    format: str | None  # block format; None: as the recipe for unquantized weights says
    exact: bool  # every weight is the same float32
    planes: Callable[[NDArray[np.uint8]], Planes] | None = None
    """Blocks [rows, blocks, bytes] -> planes of `format`. None: dequantized, then quantized."""


def _f16(raw: NDArray[np.uint8]) -> NDArray[np.float16]:
    """[.., 2 n] bytes -> [.., n]."""
    halves: NDArray[np.float16] = np.ascontiguousarray(raw).view("<f2")
    return halves


def _by_lane(values: NDArray[Any]) -> NDArray[Any]:
    """[rows, ..] -> [.., rows]."""
    lanes: NDArray[Any] = values.reshape(len(values), -1).T
    return lanes


def _nibbles(raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[rows, blocks, n] bytes -> [rows, blocks, 2 n]: the low nibbles of a block, then its high ones."""
    return np.concatenate([raw & 15, raw >> 4], axis=-1)


def _from_q4_0(blocks: NDArray[np.uint8]) -> Planes:
    return {"d": _by_lane(_f16(blocks[..., :2])), "q4": _by_lane(_nibbles(blocks[..., 2:]))}


def _from_q4_1(blocks: NDArray[np.uint8]) -> Planes:
    d, m = _f16(blocks[..., :2]), _f16(blocks[..., 2:4])
    return {"d": _by_lane(d), "m": _by_lane(m), "q4": _by_lane(_nibbles(blocks[..., 4:]))}


def _from_q8_0(blocks: NDArray[np.uint8]) -> Planes:
    return {"d": _by_lane(_f16(blocks[..., :2])), "w8": _by_lane(np.ascontiguousarray(blocks[..., 2:]).view(np.int8))}


def _from_q4_k(blocks: NDArray[np.uint8]) -> Planes:
    """Scales and minimums multiplied out and rounded to float16; the levels stay."""
    d, dmin = (_f16(blocks[..., i : i + 2]).astype(np.float32) for i in (0, 2))
    low, high, both = np.split(blocks[..., 4:16], 3, axis=-1)  # 6 bits each: four of a kind, then the rest of eight
    scale = np.concatenate([low & 63, both & 15 | low >> 2 & 48], axis=-1)
    minimum = np.concatenate([high & 63, both >> 4 | high >> 2 & 48], axis=-1)
    with np.errstate(over="ignore"):  # refused as not finite
        scales, minimums = (d * scale).astype(np.float16), (-dmin * minimum).astype(np.float16)
    quants = blocks[..., 16:].reshape(*blocks.shape[:2], 4, _GROUP)  # each run of 32 bytes holds two groups
    return {"d": _by_lane(scales), "m": _by_lane(minimums), "q4": _by_lane(_nibbles(quants))}


def _from_q1_0(blocks: NDArray[np.uint8]) -> Planes:
    """d or -d by a bit: levels 9 and 7 of sixteen."""
    bits = np.unpackbits(blocks[..., 2:], axis=-1, bitorder="little")
    return {"d": _by_lane(_f16(blocks[..., :2])), "q4": _by_lane(2 * bits + np.uint8(7))}


UNQUANTIZED = (GgmlType.F32, GgmlType.F16, GgmlType.BF16)

_HELD_IN_8_BITS = (
    *("Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q5_K", "Q6_K", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4"),
    *("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS"),
)
"""q8 adds a mean KL divergence of some 5e-4 to any of them, q6z32 ten times that (docs/decisions/gguf-types.md)."""

_KNOWN: Mapping[str, GgmlType] = GGMLQuantizationType.__members__  # to this version of the package
INCOMING: dict[GgmlType, Incoming] = {
    GgmlType.Q4_0: Incoming("q4g32", True, _from_q4_0),
    GgmlType.Q4_1: Incoming("q4a32", True, _from_q4_1),
    GgmlType.Q8_0: Incoming("q8g32", True, _from_q8_0),
    GgmlType.Q4_K: Incoming("q4a32", False, _from_q4_k),
    **{_KNOWN[name]: Incoming("q4g128", True, _from_q1_0) for name in ("Q1_0",) if name in _KNOWN},
    **{_KNOWN[name]: Incoming("q8", False) for name in _HELD_IN_8_BITS if name in _KNOWN},
    **dict.fromkeys(UNQUANTIZED, Incoming(None, False)),
}


def repack(kind: GgmlType, raw: NDArray[np.uint8], columns: int) -> Bytes:
    """Raw blocks of whole rows as packed panels of `INCOMING[kind].format`; missing rows of the last panel are zero.

    Raises CheckpointError for scales that are not finite.
    """
    incoming = INCOMING[kind]
    assert incoming.format is not None and incoming.planes is not None
    _, size = GGML_QUANT_SIZES[kind]
    planes = incoming.planes(raw.reshape(len(raw), -1, size))
    for name in ("d", "m"):
        if name in planes and not np.isfinite(planes[name]).all():
            block, row = np.argwhere(~np.isfinite(planes[name]))[0]
            raise CheckpointError(
                f"expected finite scales, found {planes[name][block, row]} in row {row}, group {block} of {kind.name}"
            )
    return assemble(block_format(incoming.format), columns, planes)


def read_weights(kind: GgmlType, raw: NDArray[np.uint8]) -> NDArray[Any]:
    """Raw rows as weights [rows, columns]: float32, float16, or uint16 holding bfloat16."""
    if kind == GgmlType.F32:
        return raw.view("<f4")
    if kind == GgmlType.F16:
        return raw.view("<f2")
    if kind == GgmlType.BF16:
        return raw.view("<u2")
    if kind.name == "Q1_0":  # which the package knows, but does not read
        blocks = raw.reshape(len(raw), -1, 18)
        signs = 2 * np.unpackbits(blocks[..., 2:], axis=-1, bitorder="little").astype(np.float32) - 1
        return (_f16(blocks[..., :2]).astype(np.float32) * signs).reshape(len(raw), -1)
    with np.errstate(over="ignore", invalid="ignore"):  # scales that are not finite are told by the quantizer
        weights: NDArray[Any] = gguf_dequantize(raw, kind)
    return weights.astype(np.float32, copy=False)


# ---- GGUF out ----


@dataclass(frozen=True)
class Outgoing:
    """What holds one of our block formats best."""

    type: GgmlType
    exact: bool


_OUTGOING = {
    "f32": Outgoing(GgmlType.F32, True),
    "bf16": Outgoing(GgmlType.BF16, True),
    "q4g": Outgoing(GgmlType.Q4_0, True),
    "q4a": Outgoing(GgmlType.Q4_1, True),
    "q4z": Outgoing(GgmlType.Q4_1, False),
}
OUTGOING = {
    name: _OUTGOING.get(fmt.kind, Outgoing(GgmlType.Q8_0, fmt.is_scaled))
    for name, fmt in BLOCK_FORMATS.items()
    if name != "vector"
}
"""A longer block becomes some of 32 with its scale; q4z's s and z are multiplied by theirs; other codes are int8."""

WRITABLE = (*UNQUANTIZED, GgmlType.Q4_0, GgmlType.Q4_1, GgmlType.Q5_0, GgmlType.Q5_1, GgmlType.Q8_0)


def type_nbytes(kind: GgmlType, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor."""
    block, size = GGML_QUANT_SIZES[kind]
    return math.prod(shape) // block * size


def holds_exactly(kind: GgmlType, name: str) -> bool:
    """Whether a type holds a block format's weights bit by bit."""
    scaled = block_format(name).is_scaled
    return kind == GgmlType.F32 or (kind == GgmlType.Q8_0 and scaled) or OUTGOING[name] == Outgoing(kind, True)


def export_blocks(name: str, kind: GgmlType, panels: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Whole panels [panels, bytes] of a block format as raw blocks [rows, row_nbytes] of a type in WRITABLE."""
    if kind not in WRITABLE:
        raise RequestError(f"GGUF type: expected one of {', '.join(k.name for k in WRITABLE)}, found {kind.name}")
    fmt = block_format(name)
    if fmt.block == 0 or not (holds_exactly(kind, name) or OUTGOING[name].type == kind) or kind == GgmlType.F32:
        weights = _core.dequantize(name, np.ascontiguousarray(panels).reshape(-1), len(panels) * PANEL_ROWS, columns)
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(gguf_quantize(weights, kind)).view(np.uint8)
    planes, blocks = read_planes(fmt, panels, columns), columns // _GROUP
    if kind == GgmlType.Q8_0:
        group, scales = fmt.block, [planes["d"]]
        quants = np.ascontiguousarray(codes_of(fmt, planes).T, np.int8).view(np.uint8).reshape(-1, blocks, _GROUP)
    else:
        group, levels = fmt.group, levels_of(fmt, planes)
        d = planes["d"].astype(np.float32).repeat(fmt.block // group, axis=0)  # [groups, rows]
        scales = [d * levels.step.astype(np.float32)]
        if kind == GgmlType.Q4_1:
            scales.append(planes["m"] if "m" in planes else d * levels.low.astype(np.float32))
        q = planes["q4"].T.reshape(-1, blocks, 2, _GROUP // 2)
        quants = q[:, :, 0] | q[:, :, 1] << 4
    by_block = (scale.repeat(group // _GROUP, axis=0)[:blocks].T for scale in scales)  # [rows, blocks]
    parts = [np.ascontiguousarray(scale, "<f2")[..., None].view(np.uint8) for scale in by_block]
    return np.concatenate([*parts, quants], axis=2).reshape(len(quants), -1)
