"""Powers of two between queries and keys, which a `.q3e` file's weights carry so that keys are easy to round.

RoPE turns channels i and i + rotated / 2 of a head together, and leaves those from `rotated` on as they are, so a
factor of such a pair, or of such a channel, can be moved from the key to the query: their product stays the same, and
with a power of two so does every bit of it. Keys are stored divided by 2^e, queries multiplied by it. In Qwen3 the
factor lies in the weights of the norms of q and k, which all heads of a layer share; in Qwen2 in the rows of the
projections and their biases, one factor for each key-value head.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.config import Metadata, ModelConfig
from qwen3edge.errors import FileFormatError
from qwen3edge.formats.blocks import PANEL_ROWS, Bytes
from qwen3edge.formats.row_scale import Exponents, scale_rows

EXPONENTS_KEY = "qwen3edge.attention.key_exponents"
OUTLIERS_KEY = "qwen3edge.attention.key_outliers"
MOST = 30  # of an exponent's magnitude

_SIDES = re.compile(r"blk\.(?P<layer>\d+)\.attn_(?P<side>[qk])(?P<part>_norm\.weight|\.weight|\.bias)\Z")


@dataclass(frozen=True)
class KeyFold:
    """The exponents of one model."""

    config: ModelConfig
    exponents: Exponents  # [layers, groups, units], see units_of
    outliers: float = 0.0  # largest key channels over the median one that are left; 0: not known

    @classmethod
    def none(cls, config: ModelConfig) -> KeyFold:
        """Nothing is moved."""
        return cls(config, np.zeros(shape_of(config), np.int32))

    @classmethod
    def read(cls, file: Metadata, config: ModelConfig) -> KeyFold:
        """From a `.q3e` file; none where it has none. Raises FileFormatError."""
        if EXPONENTS_KEY not in file:
            return cls.none(config)
        stored, shape = np.asarray(file.get(EXPONENTS_KEY)), shape_of(config)
        if stored.dtype.kind not in "iu" or stored.size != np.prod(shape) or np.abs(stored).max() > MOST:
            raise FileFormatError(
                f"{EXPONENTS_KEY}: expected {np.prod(shape)} integers from -{MOST} to {MOST}, "
                f"found {stored.size} of type {stored.dtype}"
            )
        outliers = file.get(OUTLIERS_KEY) if OUTLIERS_KEY in file else 0.0
        return cls(config, stored.astype(np.int32).reshape(shape), float(outliers))  # type: ignore[arg-type]

    def metadata(self) -> dict[str, Any]:
        """The keys of docs/format.md."""
        return {EXPONENTS_KEY: self.exponents.reshape(-1), OUTLIERS_KEY: self.outliers}

    def apply(self, name: str, block_format: str, packed: Bytes, columns: int, first_row: int = 0) -> Bytes:
        """The bytes to store of a tensor's own: whole panels from first_row on, or a vector."""
        exponents = self.of(name)
        if exponents is None:
            return packed
        rows = (
            exponents.size
            if block_format == "vector"
            else PANEL_ROWS * (packed.nbytes // _core.packed_nbytes(block_format, PANEL_ROWS, columns))
        )
        scaled = scale_rows(block_format, packed.reshape(-1), columns, exponents[first_row : first_row + rows])
        return scaled.reshape(packed.shape)

    def undo(self, name: str, block_format: str, packed: Bytes, columns: int, first_row: int = 0) -> Bytes:
        """A tensor's own bytes of the stored ones, to the last bit."""
        return KeyFold(self.config, -self.exponents).apply(name, block_format, packed, columns, first_row)

    def to(self, other: KeyFold, name: str) -> Exponents | None:
        """By which powers of two the rows of a tensor are larger in a file of the same model with another fold."""
        own, theirs = self.of(name), other.of(name)
        if own is None or theirs is None:
            return theirs if own is None else -own
        return theirs - own if (theirs != own).any() else None

    def of(self, name: str) -> Exponents | None:
        """By which powers of two the rows of a tensor, or the elements of a vector, are stored larger; None: none."""
        match = _SIDES.match(name)
        if match is None or (match["part"] == "_norm.weight") != self.config.qk_norm:
            return None
        layer = self.exponents[int(match["layer"])]  # [groups, units]
        if not layer.any():
            return None
        channels: Exponents = layer[:, units_of(self.config)]  # [groups, head_size]
        if match["side"] == "k":
            return -channels.reshape(-1)
        heads = 1 if self.config.qk_norm else self.config.heads // self.config.kv_heads
        return channels.repeat(heads, axis=0).reshape(-1)


def shape_of(config: ModelConfig) -> tuple[int, int, int]:
    """[layers, groups, units]: what shares a factor."""
    return config.layers, 1 if config.qk_norm else config.kv_heads, config.head_size - config.rotated // 2


def units_of(config: ModelConfig) -> NDArray[np.int64]:
    """Which unit each channel of a head belongs to, [head_size]: a pair that RoPE turns, or the channel alone."""
    channels, half = np.arange(config.head_size), config.rotated // 2
    return np.where(channels < config.rotated, channels % half, channels - half)
