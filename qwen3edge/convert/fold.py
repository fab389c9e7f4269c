"""Chooses the powers of two that move large channels of the keys into the queries (formats/key_fold.py).

Keys are stored with one scale a token and head, and so are queries when they meet: a pair of channels that is a hundred
times as large as the others leaves those a few levels. With s = sqrt(k / q) of a pair both sides are equally uneven.
The root mean squares come from the weights alone; what is multiplied has a mean square of 1 behind a norm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert.ordered import in_order
from qwen3edge.convert.quantize import Job, packed_slices, slice_rows
from qwen3edge.formats.blocks import PANEL_ROWS, as_float32
from qwen3edge.formats.key_fold import MOST, KeyFold, shape_of
from qwen3edge.formats.row_scale import Exponents, exponent_range

Squares = NDArray[np.float64]


@dataclass(frozen=True)
class _Layer:
    """Where the jobs of one layer find what a fold is chosen from."""

    config: ModelConfig
    jobs: Mapping[str, Job]  # by the tensor's name in the `.q3e` file
    prefix: str  # "blk.N.attn_"
    pool: ThreadPoolExecutor
    ahead: int

    def mean_squares(self, side: str) -> Squares:
        """Of each unit of channels of the keys ("k"), or of the queries that meet them ("q"): [groups, units]."""
        if self.config.qk_norm:
            channels = self._vector(f"{side}_norm.weight").astype(np.float64) ** 2
        else:
            gain = self._vector("norm.weight").astype(np.float64)
            channels = self._squares(f"{side}.weight", gain)
            if self.config.qkv_bias:
                channels += self._vector(f"{side}.bias").astype(np.float64) ** 2
        return self._by_unit(np.mean, channels)

    def limits(self) -> tuple[Exponents, Exponents]:
        """The exponents of each unit that every tensor of the layer can hold: [groups, units], twice."""
        parts = ["_norm.weight"] if self.config.qk_norm else [".weight", ".bias"][: 1 + self.config.qkv_bias]
        low, high = np.int32(-MOST), np.int32(MOST)
        for part in parts:
            most, least = (-x for x in self._range(f"k{part}"))  # keys get the opposite exponent
            for lows, highs in (self._range(f"q{part}"), (least, most)):
                low = np.maximum(low, self._by_unit(np.max, lows))
                high = np.minimum(high, self._by_unit(np.min, highs))
        return low, high

    def _by_unit(self, reduce: Callable[..., NDArray[Any]], channels: NDArray[Any]) -> NDArray[Any]:
        """Of all heads' channels what `reduce` makes of a unit's in all heads of a group: [groups, units]."""
        groups, rotated = shape_of(self.config)[1], self.config.rotated
        heads = channels.reshape(groups, -1, self.config.head_size)
        pairs = heads[..., :rotated].reshape(groups, -1, 2, rotated // 2)
        parts = [pairs] if rotated == self.config.head_size else [pairs, heads[:, :, None, rotated:]]
        return np.concatenate([reduce(part, axis=(1, 2)) for part in parts], axis=-1)

    def _vector(self, name: str) -> NDArray[np.float32]:
        job = self.jobs[self.prefix + name]
        return as_float32(job.source.read_rows(job.name, 0, job.tensor.columns))

    def _squares(self, name: str, gain: Squares) -> Squares:
        """Of each row, times the gain of its columns, summed."""
        job = self.jobs[self.prefix + name]

        def part(start: int, stop: int) -> Squares:
            rows = as_float32(job.source.read_rows(job.name, start, stop)) * gain.astype(np.float32)
            squares: Squares = np.einsum("rc,rc->r", rows, rows, dtype=np.float64)
            return squares

        step, rows = slice_rows(job.tensor), job.tensor.rows
        parts = (partial(part, start, min(start + step, rows)) for start in range(0, rows, step))
        return np.concatenate(list(in_order(self.pool, self.ahead, parts)))

    def _range(self, name: str) -> tuple[Exponents, Exponents]:
        job = self.jobs[self.prefix + name]
        lows, highs, left = [], [], job.tensor.columns if job.tensor.is_vector else job.tensor.rows
        panel = 0 if job.tensor.is_vector else _core.packed_nbytes(job.block_format, PANEL_ROWS, job.tensor.columns)
        for piece in packed_slices(job, self.pool, self.ahead):
            rows = min(left, piece.nbytes // panel * PANEL_ROWS) if panel else left
            low, high = exponent_range(job.block_format, piece, rows, job.tensor.columns)
            lows.append(low)
            highs.append(high)
            left -= rows
        return np.concatenate(lows), np.concatenate(highs)


def choose_fold(config: ModelConfig, jobs: Mapping[str, Job], pool: ThreadPoolExecutor, ahead: int) -> KeyFold:
    """jobs: of every tensor, by its name in the `.q3e` file. Reads the norms of q and k; without norms, q and k.

    Raises CheckpointError as `packed_slices` does.
    """
    chosen, outliers = [], 1.0
    without = np.zeros(shape_of(config)[1:], np.int32)
    for n in range(config.layers):
        if f"blk.{n}.attn_k.weight" not in jobs:
            chosen.append(without)
            continue
        layer = _Layer(config, jobs, f"blk.{n}.attn_", pool, ahead)
        keys, queries = np.sqrt(layer.mean_squares("k")), np.sqrt(layer.mean_squares("q"))
        exponents = wanted_exponents(keys, queries)
        if exponents.any():
            low, high = layer.limits()
            exponents = within(exponents, low, high)
        chosen.append(exponents)
        left = np.ldexp(keys, -exponents)
        median = np.median(left, axis=1)
        outliers = max(outliers, float((left.max(axis=1)[median > 0] / median[median > 0]).max(initial=1.0)))
    return replace(KeyFold.none(config), exponents=np.stack(chosen), outliers=outliers)


def wanted_exponents(keys: Squares, queries: Squares) -> Exponents:
    """round(0.5 log2((k / q) / median)) of root mean squares [groups, pairs]; 0 for pairs without a ratio."""
    known = (keys > 0) & (queries > 0)
    ratios = np.log2(np.where(known, keys, 1)) - np.log2(np.where(known, queries, 1))
    median = np.array([np.median(row[ok]) if ok.any() else 0.0 for row, ok in zip(ratios, known, strict=True)])
    return np.where(known, np.rint(0.5 * (ratios - median[:, None])), 0).astype(np.int32)


def within(wanted: Exponents, low: Exponents, high: Exponents) -> Exponents:
    """The wanted exponents [groups, pairs] moved into their limits.

    All pairs of a group may move by the same power of two, as it changes neither side's unevenness. The move is the one
    that leaves least to cut off, and among those the smallest.
    """
    moved = []
    for own, least, most in zip(wanted, low, high, strict=True):
        moves = sorted(range(-MOST, MOST + 1), key=abs)
        cut = [int(np.abs(np.clip(own + move, least, most) - (own + move)).sum()) for move in moves]
        moved.append(np.clip(own + moves[int(np.argmin(cut))], least, most))
    return np.stack(moved).astype(np.int32)
