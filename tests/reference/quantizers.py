"""The quantizers in NumPy: csrc/ukernels/pack_*.h over again, float32 operation by operation, with the same bytes.

The oracle that the C++ core is compared with by ==; slow. The converter uses the core.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge.formats.blocks import (
    PANEL_ROWS,
    SUPER_BLOCK,
    BlockFormat,
    Bytes,
    Floats,
    assemble,
    block_format,
)
from tests.reference.blocks import packed_nbytes

_f = np.float32


def quantize(name: str, weights: Floats, importance: Floats | None = None) -> Bytes:
    """Packs finite float32 weights [rows, columns]; importance: [columns], what a squared error in each counts."""
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
            stored = _pack_blocks(fmt, w, np.ones(columns, np.float32) if importance is None else importance)
    return assemble(fmt, columns, stored)


def _pack_blocks(fmt: BlockFormat, w: Floats, c: Floats) -> dict[str, NDArray[Any]]:
    """All whole blocks at once, then the short one."""
    columns, lanes = w.shape
    pack: Callable[[Floats, Floats], dict[str, NDArray[Any]]] = {
        "q8": _pack_q8,
        "q4g": _pack_q4g,
        "q4a": _pack_q4a,
        "q4z": lambda block, counts: _pack_q4z(block, counts, fmt.group),
        "q6z": _pack_q6z,
    }[fmt.kind]
    whole = columns // fmt.block * fmt.block
    parts = []
    for start, stop, size in ((0, whole, fmt.block), (whole, columns, columns - whole)):
        if stop > start:
            blocks = w[start:stop].reshape(-1, size, lanes).transpose(1, 0, 2)  # [k, blocks, lanes]
            counts = c[start:stop].reshape(-1, size, 1).transpose(1, 0, 2)  # [k, blocks, 1]
            parts.append(pack(np.ascontiguousarray(blocks), counts))
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


_TOPS_Q8 = [_f(top) for top in (127, 126.75, 126.5, 126.25, 126, 125.5, 125, 127.25, 127.5)]


def _pack_q8(w: Floats, c: Floats) -> dict[str, NDArray[Any]]:
    amax = np.abs(w).max(axis=0)
    d, best = np.zeros_like(amax), np.full_like(amax, 3.0e38)
    for top in _TOPS_Q8:
        candidate = _through_f16(amax / top)
        e = w * _inverse(candidate) - _levels_q8(w, candidate)
        error = _sum(e * e * c) * candidate * candidate
        better = error < best
        best, d = np.where(better, error, best), np.where(better, candidate, d)
    return {"d": d, "w8": _levels_q8(w, d).astype(np.int32)}


def _levels_q8(w: Floats, d: Floats) -> Floats:
    return _clamp(_round(w * _inverse(d)), -127, _f(127))


_TOP_LEVELS = [_f(5 + 0.25 * i) for i in range(17)]


def _pack_q4g(w: Floats, c: Floats) -> dict[str, NDArray[Any]]:
    amax = np.abs(w).max(axis=0)
    top = np.take_along_axis(w, np.abs(w).argmax(axis=0)[None], axis=0)[0]
    per_level, sign = _inverse(amax), np.where(top < 0, _f(-1), _f(1))
    d, best = np.zeros_like(amax), np.zeros_like(amax)
    for level in _TOP_LEVELS:
        for side in (_f(-1), _f(1)):
            fit, gain, _ = _fit_symmetric(w, c, _round(w * (per_level * (sign * (level * side)))))
            d, best = np.where(gain > best, fit, d), np.where(gain > best, gain, best)
    for _ in range(2):
        fit, _, qq = _fit_symmetric(w, c, _round(_clamp(w * _inverse(d), -16, _f(16))))
        d = np.where(qq == 0, d, fit)
    d = _through_f16(d)
    q = _clamp(_round(_clamp(w * _inverse(d), -16, _f(16))), -8, _f(7))
    return {"d": d, "q4": q.astype(np.int32) + 8}


def _fit_symmetric(w: Floats, c: Floats, q: Floats) -> tuple[Floats, Floats, Floats]:
    """The best scale for levels q, what it explains, and sum(q q)."""
    q = _clamp(q, -8, _f(7))
    wq, qq = _sum(w * q * c), _sum(q * q * c)
    fit = wq * _inverse(qq)
    return fit, wq * fit, qq


_RANGE_SHARES = [_f(share) for share in (1.02, 0.98, 0.94, 0.9, 0.86, 0.82)]
_RANGE_SHIFTS = [_f(shift) for shift in (0.5, 0.3, 0.7, 0.1, 0.9)]


def _pack_q4a(w: Floats, c: Floats) -> dict[str, NDArray[Any]]:
    per_total = _f(1) / _sum(c)
    mean = _sum(w * c) * per_total
    low, high = w.min(axis=0), w.max(axis=0)
    step, middle = (high - low) * (_f(1) / _f(15)), (high + low) * _f(0.5)
    d, m, best = np.zeros_like(mean), mean, np.full_like(mean, 3.0e38)
    for share in _RANGE_SHARES:
        for shift in _RANGE_SHIFTS:
            trial = step * share
            fit_d, fit_m = _refit_affine(w, c, per_total, (trial, middle - trial * (_f(7) + shift)), mean)
            fit_d, fit_m = _through_f16(fit_d), _through_f16(fit_m)
            e = w - (fit_d * _affine_levels(w, fit_d, fit_m) + fit_m)
            error = _sum(e * e * c)
            better = error < best
            best, d, m = np.where(better, error, best), np.where(better, fit_d, d), np.where(better, fit_m, m)
    return {"d": d, "m": m, "q4": _affine_levels(w, d, m).astype(np.int32)}


def _affine_levels(w: Floats, d: Floats, m: Floats) -> Floats:
    return _round(_clamp((w - m) * _inverse(d), 0, _f(15)))


def _refit_affine(
    w: Floats, c: Floats, per_total: Floats, fit: tuple[Floats, Floats], mean: Floats
) -> tuple[Floats, Floats]:
    d, m = fit
    q = _affine_levels(w, d, m)
    counted = q * c
    sum_q, sum_qq, sum_qw = _sum(counted), _sum(counted * q), _sum(counted * (w - mean))
    mean_q = sum_q * per_total
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

    def offer(self, u: Floats, counts: Floats, s: Floats, inverse_s: Floats, z: Floats) -> None:
        """Takes s and z where they are better."""
        t = u * inverse_s - z * inverse_s
        e = t - _round(_clamp(t, 0, _highest_q(s, z)))
        error = _sum(e * e * counts) * (s * s)
        better = error < self.error
        self.error = np.where(better, error, self.error)
        self.s, self.z = np.where(better, s, self.s), np.where(better, z, self.z)


def _highest_q(s: Floats, z: Floats) -> Floats:
    return _least(_round((_f(127) - z) / s - _f(0.46875)), _f(15))


def _as_offset(z: Floats) -> Floats:
    return _clamp(_round(z), -128, _f(127))


def _search_group(u: Floats, c: Floats) -> _GroupFit:
    low, high = u.min(axis=0), u.max(axis=0)
    middle = (low + high) * _f(0.5)
    widest = _round((high - low) * (_f(1) / _f(15)) + _f(0.5))
    fit = _GroupFit(np.ones_like(low), np.zeros_like(low), np.full_like(low, 3.0e38))
    for down in _STEPS_DOWN:
        s = _clamp(widest - down, 1, _f(16))
        inverse_s = _f(1) / s
        for phase in _PHASES:
            fit.offer(u, c, s, inverse_s, _as_offset(middle - s * (_f(7.5) + phase)))
    return fit


def _polish_group(u: Floats, c: Floats, fit: _GroupFit) -> None:
    for step in (_f(2), _f(1)):
        s, z = fit.s, fit.z
        inverse_s = _f(1) / s
        fit.offer(u, c, s, inverse_s, _as_offset(z + step))
        fit.offer(u, c, s, inverse_s, _as_offset(z - step))
    for step in (_f(1), _f(-1)):
        s = _clamp(fit.s + step, 1, _f(16))
        inverse_s = _f(1) / s
        z = fit.z + (fit.s - s) * _f(7.5)
        fit.offer(u, c, s, inverse_s, _as_offset(z))
        fit.offer(u, c, s, inverse_s, _as_offset(z + s * _f(0.25)))
        fit.offer(u, c, s, inverse_s, _as_offset(z - s * _f(0.25)))


def _pack_q4z(w: Floats, c: Floats, group: int) -> dict[str, NDArray[Any]]:
    blocks, lanes = w.shape[1:]
    groups = len(w) // group
    by_group = w.reshape(groups, group, blocks, lanes).transpose(1, 0, 2, 3)  # [k, groups, blocks, lanes]
    counts = c.reshape(groups, group, blocks, 1).transpose(1, 0, 2, 3)
    amax = np.abs(w).max(axis=0)
    d, best = np.zeros_like(amax), np.full_like(amax, 3.0e38)
    fits = _GroupFit(*(np.full((groups, blocks, lanes), value, np.float32) for value in (1, 0, 0)))
    for size in _GRID_SIZES:
        candidate = _through_f16(amax / size)
        found = _search_group(by_group * _inverse(candidate), counts)
        error = _sum(found.error) * candidate * candidate
        better = (error < best) & (candidate > 0)
        best, d = np.where(better, error, best), np.where(better, candidate, d)
        fits.s, fits.z = np.where(better, found.s, fits.s), np.where(better, found.z, fits.z)
        fits.error = np.where(better, found.error, fits.error)
    u = by_group * _inverse(d)
    _polish_group(u, counts, fits)
    codes = fits.s * _grid_levels(u, fits.s, fits.z) + fits.z
    ordered = codes.transpose(1, 0, 2, 3).reshape(w.shape)
    counted = ordered * c
    refitted = _through_f16(_sum(w * counted) * _inverse(_sum(ordered * counted)))
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

    def offer(self, u: Floats, counts: Floats, s: Floats, c: Floats) -> None:
        """Takes s and c where they are better."""
        t = u * (_f(1) / s) - (_f(4) - s) * c * (_f(1) / s)
        e = t - _round(_clamp(t, 0, _f(63)))
        error = _sum(e * e * counts) * (s * s)
        better = error < self.error
        self.error = np.where(better, error, self.error)
        self.s, self.c = np.where(better, s, self.s), np.where(better, c, self.c)


def _centre_q6(s: Floats, middle: Floats) -> Floats:
    return _clamp(_round((middle - s * _f(31.5)) * _inverse(_f(4) - s)), 0, _f(63))


def _search_group_q6(u: Floats, counts: Floats) -> _GroupFitQ6:
    low, high = u.min(axis=0), u.max(axis=0)
    middle = (low + high) * _f(0.5)
    widest = _clamp(_round((high - low) * (_f(1) / _f(63)) + _f(0.5)), 1, _f(4))
    fit = _GroupFitQ6(np.ones_like(low), np.full_like(low, 32), np.full_like(low, 3.0e38))
    for down in (_f(0), _f(1)):
        s = _clamp(widest - down, 1, _f(4))
        fit.offer(u, counts, s, _centre_q6(s, middle))
    return fit


def _polish_group_q6(u: Floats, counts: Floats, fit: _GroupFitQ6) -> None:
    for _ in range(2):
        s, c = fit.s, fit.c
        fit.offer(u, counts, s, _clamp(c + _f(1), 0, _f(63)))
        fit.offer(u, counts, s, _clamp(c - _f(1), 0, _f(63)))
    middle, before = (_f(4) - fit.s) * fit.c + fit.s * _f(31.5), fit.s
    for step in (_f(1), _f(-1)):
        s = _clamp(before + step, 1, _f(4))
        c = _centre_q6(s, middle)
        fit.offer(u, counts, s, c)
        fit.offer(u, counts, s, _clamp(c + _f(1), 0, _f(63)))
        fit.offer(u, counts, s, _clamp(c - _f(1), 0, _f(63)))


def _pack_q6z(w: Floats, c: Floats) -> dict[str, NDArray[Any]]:
    blocks, lanes = w.shape[1:]
    groups = len(w) // 32
    by_group = w.reshape(groups, 32, blocks, lanes).transpose(1, 0, 2, 3)  # [k, groups, blocks, lanes]
    counts = c.reshape(groups, 32, blocks, 1).transpose(1, 0, 2, 3)
    amax = np.abs(w).max(axis=0)
    top = np.take_along_axis(w, np.abs(w).argmax(axis=0)[None], axis=0)[0]
    sign = np.where(top > 0, _f(-1), _f(1))
    d, best = np.zeros_like(amax), np.full_like(amax, 3.0e38)
    fits = _GroupFitQ6(*(np.full((groups, blocks, lanes), value, np.float32) for value in (1, 32, 0)))
    for size in _GRID_SIZES_Q6:
        candidate = _through_f16(amax / size)
        found = _search_group_q6(by_group * _inverse(candidate * sign) + _f(128), counts)
        error = _sum(found.error) * candidate * candidate
        better = (error < best) & (candidate > 0)
        best, d = np.where(better, error, best), np.where(better, candidate * sign, d)
        fits.s, fits.c = np.where(better, found.s, fits.s), np.where(better, found.c, fits.c)
        fits.error = np.where(better, found.error, fits.error)
    u = by_group * _inverse(d) + _f(128)
    _polish_group_q6(u, counts, fits)
    offset = (_f(4) - fits.s) * fits.c
    codes = fits.s * _round(_clamp(u * (_f(1) / fits.s) - offset * (_f(1) / fits.s), 0, _f(63))) + offset - _f(128)
    ordered = codes.transpose(1, 0, 2, 3).reshape(w.shape)
    counted = ordered * c
    refitted = _through_f16(_sum(w * counted) * _inverse(_sum(ordered * counted)))
    d = np.where(refitted == 0, d, refitted)
    s, centre = np.where(d == 0, _f(1), fits.s), np.where(d == 0, _f(32), fits.c)
    t = (by_group * _inverse(d) + _f(128)) * (_f(1) / s) - (_f(4) - s) * centre * (_f(1) / s)
    q = _round(_clamp(t, 0, _f(63)))
    stored = np.zeros((SUPER_BLOCK // 32, blocks, lanes), np.int32)
    stored[:groups] = s.astype(np.int32) - 1 + 4 * centre.astype(np.int32)
    return {"d": d, "sc": stored, "q6": q.transpose(1, 0, 2, 3).reshape(w.shape).astype(np.int32)}
