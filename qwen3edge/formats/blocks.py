"""What the packed bytes of each block format mean (docs/format.md), in NumPy: the oracle of the C++ core.

`quantize` is csrc/ukernels/pack_*.h over again, float32 operation by operation, and gives the same bytes;
`dequantize` is what the engine computes with. Both are slow: the converter uses the core.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qwen3edge.errors import RequestError

PANEL_ROWS = 16
SUPER_BLOCK = 256
COLUMN_UNIT = 32
PLANE_ALIGNMENT = 64

Floats: TypeAlias = NDArray[np.float32]
Bytes: TypeAlias = NDArray[np.uint8]
_f = np.float32


@dataclass(frozen=True)
class BlockFormat:
    """One entry of kBlockFormats in csrc/base/block_format.h."""

    name: str
    kind: str  # vector, f32, bf16, q8, q4g, q4a, q4z, q6z
    block: int  # values of K under one float scale; 0 when unquantized
    group: int  # values of K under the finest scale


BLOCK_FORMATS = {
    f.name: f
    for f in (
        BlockFormat("vector", "vector", 0, 0),
        BlockFormat("f32", "f32", 0, 0),
        BlockFormat("bf16", "bf16", 0, 0),
        BlockFormat("q8", "q8", SUPER_BLOCK, SUPER_BLOCK),
        BlockFormat("q8g32", "q8", 32, 32),
        *(BlockFormat(f"q4g{g}", "q4g", g, g) for g in (32, 64, 128)),
        *(BlockFormat(f"q4a{g}", "q4a", g, g) for g in (32, 64, 128)),
        *(BlockFormat(f"q4z{g}", "q4z", SUPER_BLOCK, g) for g in (32, 64)),
        BlockFormat("q6z32", "q6z", SUPER_BLOCK, 32),
    )
}


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


def holds_columns(fmt: BlockFormat, columns: int) -> bool:
    """Whether a row of that many values can be held."""
    if fmt.kind == "vector":
        return columns > 0
    return (
        columns > 0 and columns % COLUMN_UNIT == 0 and (fmt.kind == "q8" or not fmt.group or columns % fmt.group == 0)
    )


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


def packed_nbytes(name: str, rows: int, columns: int) -> int:
    """Bytes of a packed matrix. Raises RequestError for columns that the format cannot hold."""
    fmt = block_format(name)
    if rows < 1 or not holds_columns(fmt, columns) or (fmt.kind == "vector" and rows != 1):
        raise RequestError(f"{name}: expected a shape that it can hold, found {rows} x {columns}")
    if fmt.kind == "vector":
        return 4 * columns
    return -(-rows // PANEL_ROWS) * panel_planes(fmt, columns)[1]


# ---- Packed bytes to weights ----


def dequantize(name: str, packed: Bytes, rows: int, columns: int) -> Floats:
    """The weights that packed bytes stand for, float32 [rows, columns]."""
    expected = packed_nbytes(name, rows, columns)
    if packed.nbytes != expected:
        raise RequestError(f"packed: expected {expected} bytes, found {packed.nbytes}")
    fmt = block_format(name)
    if fmt.kind == "vector":
        return packed.view("<f4").astype(np.float32)[None]
    planes, size = panel_planes(fmt, columns)
    panels = packed.reshape(-1, size)
    stored = {p.name: read_plane(panels, p) for p in planes}
    if "w" in stored:
        values = stored["w"] if fmt.kind == "f32" else (stored["w"].astype(np.uint32) << 16).view(np.float32)
        return np.ascontiguousarray(values.transpose(0, 2, 1)).reshape(-1, columns)[:rows]
    codes = codes_of(fmt, stored)  # [panels, columns, 16]
    d = _per_column(stored["d"], fmt.block, columns)
    values = d * codes.astype(np.float32)
    if "m" in stored:
        values = values + _per_column(stored["m"], fmt.block, columns)
    return np.ascontiguousarray(values.transpose(0, 2, 1)).reshape(-1, columns)[:rows]


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


def _per_column(scales: NDArray[Any], block: int, columns: int) -> Floats:
    """float16 [panels, blocks, 16] to float32 [panels, columns, 16]."""
    wide: Floats = scales.astype(np.float32).repeat(block, axis=1)[:, :columns]
    return wide


# ---- Weights to packed bytes ----


def quantize(name: str, weights: Floats) -> Bytes:
    """Packs finite float32 weights [rows, columns]."""
    rows, columns = weights.shape
    packed_nbytes(name, rows, columns)
    fmt = block_format(name)
    if fmt.kind == "vector":
        return np.ascontiguousarray(weights[0], "<f4").view(np.uint8)
    count = -(-rows // PANEL_ROWS)
    padded = np.zeros((count * PANEL_ROWS, columns), np.float32)
    padded[:rows] = weights
    w = np.ascontiguousarray(padded.T)  # [columns, lanes]: every row is a lane
    stored: dict[str, NDArray[Any]] = {}  # by plane, [.., lanes] with the lanes last
    if fmt.kind == "f32":
        stored["w"] = w
    elif fmt.kind == "bf16":
        stored["w"] = _bf16(w)
    else:
        with np.errstate(over="ignore", invalid="ignore"):  # subnormal weights have no inverse; their scale becomes 0
            stored = _pack_blocks(fmt, w)
    return assemble(fmt, columns, stored)


def assemble(fmt: BlockFormat, columns: int, stored: dict[str, NDArray[Any]]) -> Bytes:
    """The packed bytes of planes given as [.., lanes]: a lane is a row, and there are whole panels of them."""
    planes, size = panel_planes(fmt, columns)
    count = stored[planes[0].name].shape[-1] // PANEL_ROWS
    panels = np.zeros((count, size), np.uint8)
    for plane in planes:
        panels[:, plane.offset : plane.offset + plane.nbytes] = _into_panels(plane, stored[plane.name], count)
    return panels.reshape(-1)


def _pack_blocks(fmt: BlockFormat, w: Floats) -> dict[str, NDArray[Any]]:
    """All whole blocks at once, then the short one."""
    columns, lanes = w.shape
    pack: Callable[[Floats], dict[str, NDArray[Any]]] = {"q8": _pack_q8, "q4g": _pack_q4g, "q4a": _pack_q4a}.get(
        fmt.kind, lambda block: _pack_q6z(block) if fmt.kind == "q6z" else _pack_q4z(block, fmt.group)
    )
    whole = columns // fmt.block * fmt.block
    parts = []
    for start, stop, size in ((0, whole, fmt.block), (whole, columns, columns - whole)):
        if stop > start:
            blocks = w[start:stop].reshape(-1, size, lanes).transpose(1, 0, 2)  # [k, blocks, lanes]
            parts.append(pack(np.ascontiguousarray(blocks)))
    out = {}
    for key in parts[0]:
        # Per-weight planes come as [k, blocks, lanes], all others as [.., blocks, lanes].
        if key in ("w8", "q4", "q6"):
            out[key] = np.concatenate([p[key].transpose(1, 0, 2).reshape(-1, lanes) for p in parts])
        elif key in ("z", "sc"):
            out[key] = np.concatenate([p[key].transpose(1, 0, 2) for p in parts])  # [blocks, groups, lanes]
        else:
            out[key] = np.concatenate([p[key] for p in parts])
    return out


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


# The quantizers: w is [k, ..], all else [..]; sums run over k in ascending order, one float32 addition at a time.


def _bf16(w: Floats) -> NDArray[np.uint16]:
    bits = w.view(np.uint32)
    rounded: NDArray[np.uint16] = ((bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return rounded


def _round(x: Floats) -> Floats:
    rounder = _f(12582912.0)  # aligns the mantissa: rounds to nearest even
    rounded: Floats = (x + rounder) - rounder
    return rounded


def _least(a: Floats, b: Floats | np.float32) -> Floats:
    return np.where(a < b, a, b)


def _most(a: Floats, b: Floats | np.float32) -> Floats:
    return np.where(a > b, a, b)


def _clamp(x: Floats, low: float, high: Floats | np.float32) -> Floats:
    return _least(_most(x, _f(low)), high)


def _inverse(x: Floats) -> Floats:
    zero = x == 0
    inverse: Floats = np.where(zero, _f(0), _f(1) / np.where(zero, _f(1), x))
    return inverse


def _through_f16(x: Floats) -> Floats:
    return x.astype(np.float16).astype(np.float32)


def _sum(terms: Floats) -> Floats:
    total: Floats = np.zeros(terms.shape[1:], np.float32)
    for term in terms:
        total = total + term
    return total


def _pack_q8(w: Floats) -> dict[str, NDArray[Any]]:
    d = _through_f16(np.abs(w).max(axis=0) / _f(127))
    return {"d": d, "w8": _clamp(_round(w * _inverse(d)), -127, _f(127)).astype(np.int32)}


_TOP_LEVELS = [_f(5 + 0.25 * i) for i in range(17)]


def _pack_q4g(w: Floats) -> dict[str, NDArray[Any]]:
    amax = np.abs(w).max(axis=0)
    top = np.take_along_axis(w, np.abs(w).argmax(axis=0)[None], axis=0)[0]
    per_level, sign = _inverse(amax), np.where(top < 0, _f(-1), _f(1))
    d, best = np.zeros_like(amax), np.zeros_like(amax)
    for level in _TOP_LEVELS:
        for side in (_f(-1), _f(1)):
            fit, gain, _ = _fit_symmetric(w, _round(w * (per_level * (sign * (level * side)))))
            d, best = np.where(gain > best, fit, d), np.where(gain > best, gain, best)
    for _ in range(2):
        fit, _, qq = _fit_symmetric(w, _round(_clamp(w * _inverse(d), -16, _f(16))))
        d = np.where(qq == 0, d, fit)
    d = _through_f16(d)
    q = _clamp(_round(_clamp(w * _inverse(d), -16, _f(16))), -8, _f(7))
    return {"d": d, "q4": q.astype(np.int32) + 8}


def _fit_symmetric(w: Floats, q: Floats) -> tuple[Floats, Floats, Floats]:
    """The best scale for levels q, what it explains, and sum(q q)."""
    q = _clamp(q, -8, _f(7))
    wq, qq = _sum(w * q), _sum(q * q)
    fit = wq * _inverse(qq)
    return fit, wq * fit, qq


_RANGE_SHARES = [_f(share) for share in (1.02, 0.98, 0.94, 0.9, 0.86, 0.82)]
_RANGE_SHIFTS = [_f(shift) for shift in (0.5, 0.3, 0.7, 0.1, 0.9)]


def _pack_q4a(w: Floats) -> dict[str, NDArray[Any]]:
    mean = _sum(w) * (_f(1) / _f(len(w)))
    low, high = w.min(axis=0), w.max(axis=0)
    step, middle = (high - low) * (_f(1) / _f(15)), (high + low) * _f(0.5)
    d, m, best = np.zeros_like(mean), mean, np.full_like(mean, 3.0e38)
    for share in _RANGE_SHARES:
        for shift in _RANGE_SHIFTS:
            trial = step * share
            fit_d, fit_m = _refit_affine(w, trial, middle - trial * (_f(7) + shift), mean)
            fit_d, fit_m = _through_f16(fit_d), _through_f16(fit_m)
            e = w - (fit_d * _affine_levels(w, fit_d, fit_m) + fit_m)
            error = _sum(e * e)
            better = error < best
            best, d, m = np.where(better, error, best), np.where(better, fit_d, d), np.where(better, fit_m, m)
    return {"d": d, "m": m, "q4": _affine_levels(w, d, m).astype(np.int32)}


def _affine_levels(w: Floats, d: Floats, m: Floats) -> Floats:
    return _round(_clamp((w - m) * _inverse(d), 0, _f(15)))


def _refit_affine(w: Floats, d: Floats, m: Floats, mean: Floats) -> tuple[Floats, Floats]:
    q = _affine_levels(w, d, m)
    sum_q, sum_qq, sum_qw = _sum(q), _sum(q * q), _sum(q * (w - mean))
    mean_q = sum_q * (_f(1) / _f(len(w)))
    spread = sum_qq - sum_q * mean_q
    fitted = sum_qw * _inverse(spread)
    usable = (spread > 0) & (fitted > 0)
    return np.where(usable, fitted, d), np.where(usable, mean - fitted * mean_q, m)


_GRID_SIZES = [_f(size) for size in (127, 123, 119, 115, 111, 107)]
_STEPS_DOWN = [_f(step) for step in (-1, 0, 1)]
_PHASES = [_f(phase) for phase in (0.0, 0.17, -0.17, 0.33, -0.33, 0.5)]


@dataclass
class _GroupFit:
    s: Floats
    z: Floats
    error: Floats

    def offer(self, u: Floats, s: Floats, inverse_s: Floats, z: Floats) -> None:
        """Takes s and z where they are better."""
        t = u * inverse_s - z * inverse_s
        e = t - _round(_clamp(t, 0, _highest_q(s, z)))
        error = _sum(e * e) * (s * s)
        better = error < self.error
        self.error = np.where(better, error, self.error)
        self.s, self.z = np.where(better, s, self.s), np.where(better, z, self.z)


def _highest_q(s: Floats, z: Floats) -> Floats:
    return _least(_round((_f(127) - z) / s - _f(0.46875)), _f(15))


def _as_offset(z: Floats) -> Floats:
    return _clamp(_round(z), -128, _f(127))


def _search_group(u: Floats) -> _GroupFit:
    low, high = u.min(axis=0), u.max(axis=0)
    middle = (low + high) * _f(0.5)
    widest = _round((high - low) * (_f(1) / _f(15)) + _f(0.5))
    fit = _GroupFit(np.ones_like(low), np.zeros_like(low), np.full_like(low, 3.0e38))
    for down in _STEPS_DOWN:
        s = _clamp(widest - down, 1, _f(16))
        inverse_s = _f(1) / s
        for phase in _PHASES:
            fit.offer(u, s, inverse_s, _as_offset(middle - s * (_f(7.5) + phase)))
    return fit


def _polish_group(u: Floats, fit: _GroupFit) -> None:
    for step in (_f(2), _f(1)):
        s, z = fit.s, fit.z
        inverse_s = _f(1) / s
        fit.offer(u, s, inverse_s, _as_offset(z + step))
        fit.offer(u, s, inverse_s, _as_offset(z - step))
    for step in (_f(1), _f(-1)):
        s = _clamp(fit.s + step, 1, _f(16))
        inverse_s = _f(1) / s
        z = fit.z + (fit.s - s) * _f(7.5)
        fit.offer(u, s, inverse_s, _as_offset(z))
        fit.offer(u, s, inverse_s, _as_offset(z + s * _f(0.25)))
        fit.offer(u, s, inverse_s, _as_offset(z - s * _f(0.25)))


def _pack_q4z(w: Floats, group: int) -> dict[str, NDArray[Any]]:
    blocks, lanes = w.shape[1:]
    groups = len(w) // group
    by_group = w.reshape(groups, group, blocks, lanes).transpose(1, 0, 2, 3)  # [k, groups, blocks, lanes]
    amax = np.abs(w).max(axis=0)
    d, best = np.zeros_like(amax), np.full_like(amax, 3.0e38)
    fits = _GroupFit(*(np.full((groups, blocks, lanes), value, np.float32) for value in (1, 0, 0)))
    for size in _GRID_SIZES:
        candidate = _through_f16(amax / size)
        found = _search_group(by_group * _inverse(candidate))
        error = _sum(found.error) * candidate * candidate
        better = (error < best) & (candidate > 0)
        best, d = np.where(better, error, best), np.where(better, candidate, d)
        fits.s, fits.z = np.where(better, found.s, fits.s), np.where(better, found.z, fits.z)
        fits.error = np.where(better, found.error, fits.error)
    u = by_group * _inverse(d)
    _polish_group(u, fits)
    codes = fits.s * _grid_levels(u, fits.s, fits.z) + fits.z
    ordered = codes.transpose(1, 0, 2, 3).reshape(w.shape)
    refitted = _through_f16(_sum(w * ordered) * _inverse(_sum(ordered * ordered)))
    d = np.where(refitted > 0, refitted, d)
    s, z = np.where(d == 0, _f(1), fits.s), np.where(d == 0, _f(0), fits.z)
    q = _grid_levels(by_group * _inverse(d), s, z)
    per_block = SUPER_BLOCK // group
    stored_s, stored_z = np.zeros((blocks, lanes), np.uint32), np.zeros((per_block, blocks, lanes), np.int32)
    for g in range(groups):
        stored_s |= (s[g].astype(np.uint32) - 1) << np.uint32(4 * g)
    stored_z[:groups] = z.astype(np.int32)
    return {"d": d, "s": stored_s, "z": stored_z, "q4": q.transpose(1, 0, 2, 3).reshape(w.shape).astype(np.int32)}


def _grid_levels(u: Floats, s: Floats, z: Floats) -> Floats:
    inverse_s = _f(1) / s
    return _round(_clamp(u * inverse_s - z * inverse_s, 0, _highest_q(s, z)))


_GRID_SIZES_Q6 = [_f(size) for size in (128, 124, 119, 114, 108, 102)]


@dataclass
class _GroupFitQ6:
    s: Floats
    c: Floats
    error: Floats

    def offer(self, u: Floats, s: Floats, c: Floats) -> None:
        """Takes s and c where they are better."""
        t = u * (_f(1) / s) - (_f(4) - s) * c * (_f(1) / s)
        e = t - _round(_clamp(t, 0, _f(63)))
        error = _sum(e * e) * (s * s)
        better = error < self.error
        self.error = np.where(better, error, self.error)
        self.s, self.c = np.where(better, s, self.s), np.where(better, c, self.c)


def _centre_q6(s: Floats, middle: Floats) -> Floats:
    return _clamp(_round((middle - s * _f(31.5)) * _inverse(_f(4) - s)), 0, _f(63))


def _search_group_q6(u: Floats) -> _GroupFitQ6:
    low, high = u.min(axis=0), u.max(axis=0)
    middle = (low + high) * _f(0.5)
    widest = _clamp(_round((high - low) * (_f(1) / _f(63)) + _f(0.5)), 1, _f(4))
    fit = _GroupFitQ6(np.ones_like(low), np.full_like(low, 32), np.full_like(low, 3.0e38))
    for down in (_f(0), _f(1)):
        s = _clamp(widest - down, 1, _f(4))
        fit.offer(u, s, _centre_q6(s, middle))
    return fit


def _polish_group_q6(u: Floats, fit: _GroupFitQ6) -> None:
    for _ in range(2):
        s, c = fit.s, fit.c
        fit.offer(u, s, _clamp(c + _f(1), 0, _f(63)))
        fit.offer(u, s, _clamp(c - _f(1), 0, _f(63)))
    middle, before = (_f(4) - fit.s) * fit.c + fit.s * _f(31.5), fit.s
    for step in (_f(1), _f(-1)):
        s = _clamp(before + step, 1, _f(4))
        c = _centre_q6(s, middle)
        fit.offer(u, s, c)
        fit.offer(u, s, _clamp(c + _f(1), 0, _f(63)))
        fit.offer(u, s, _clamp(c - _f(1), 0, _f(63)))


def _pack_q6z(w: Floats) -> dict[str, NDArray[Any]]:
    blocks, lanes = w.shape[1:]
    groups = len(w) // 32
    by_group = w.reshape(groups, 32, blocks, lanes).transpose(1, 0, 2, 3)  # [k, groups, blocks, lanes]
    amax = np.abs(w).max(axis=0)
    top = np.take_along_axis(w, np.abs(w).argmax(axis=0)[None], axis=0)[0]
    sign = np.where(top > 0, _f(-1), _f(1))
    d, best = np.zeros_like(amax), np.full_like(amax, 3.0e38)
    fits = _GroupFitQ6(*(np.full((groups, blocks, lanes), value, np.float32) for value in (1, 32, 0)))
    for size in _GRID_SIZES_Q6:
        candidate = _through_f16(amax / size)
        found = _search_group_q6(by_group * _inverse(candidate * sign) + _f(128))
        error = _sum(found.error) * candidate * candidate
        better = (error < best) & (candidate > 0)
        best, d = np.where(better, error, best), np.where(better, candidate * sign, d)
        fits.s, fits.c = np.where(better, found.s, fits.s), np.where(better, found.c, fits.c)
        fits.error = np.where(better, found.error, fits.error)
    u = by_group * _inverse(d) + _f(128)
    _polish_group_q6(u, fits)
    offset = (_f(4) - fits.s) * fits.c
    codes = fits.s * _round(_clamp(u * (_f(1) / fits.s) - offset * (_f(1) / fits.s), 0, _f(63))) + offset - _f(128)
    ordered = codes.transpose(1, 0, 2, 3).reshape(w.shape)
    refitted = _through_f16(_sum(w * ordered) * _inverse(_sum(ordered * ordered)))
    d = np.where(refitted == 0, d, refitted)
    s, c = np.where(d == 0, _f(1), fits.s), np.where(d == 0, _f(32), fits.c)
    t = (by_group * _inverse(d) + _f(128)) * (_f(1) / s) - (_f(4) - s) * c * (_f(1) / s)
    q = _round(_clamp(t, 0, _f(63)))
    stored = np.zeros((SUPER_BLOCK // 32, blocks, lanes), np.int32)
    stored[:groups] = s.astype(np.int32) - 1 + 4 * c.astype(np.int32)
    return {"d": d, "sc": stored, "q6": q.transpose(1, 0, 2, 3).reshape(w.shape).astype(np.int32)}
