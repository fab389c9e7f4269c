"""What calibration found out about a model's matrices, in one `.npz` file.

By tensor: `sums/NAME` float64 [experts, columns], squares of the activations summed over tokens; `counts/NAME` int64
[experts], tokens; `gram/NAME` float32 [columns, columns], X^T X of the same tokens, `gram/NAME/E` that of expert E;
`sensitivity/NAME`, the KL divergence in nats that the tensor in SENSITIVITY_FORMAT alone causes. Experts are one where
the tensor has none.
Tensors that share their input are stored once.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge.closing import Closing
from qwen3edge.errors import CheckpointError, FileFormatError
from qwen3edge.formats.atomic import sync
from qwen3edge.formats.imatrix import read_imatrix, write_imatrix

SENSITIVITY_FORMAT = "q4z32"
_SHARED = {
    **{"attn_k": "attn_q", "attn_v": "attn_q", "attn_gate": "attn_qkv"},
    **{f"ffn_up{kind}": f"ffn_gate{kind}" for kind in ("", "_exps", "_shexp")},
}
_THEIRS = {"ffn_gate_up_exps": "ffn_gate_exps"}  # llama.cpp's name of a tensor with our input
LEAST_IMPORTANCE, MOST_IMPORTANCE = 1e-4, 1e6  # as shares of the mean


def input_name(name: str) -> str:
    """The tensor under whose name the input of `name` is stored."""
    return _renamed(name, _SHARED)


def _renamed(name: str, parts: Mapping[str, str]) -> str:
    head, _, part = name.removesuffix(".weight").rpartition(".")
    return f"{head}.{parts.get(part, part)}.weight" if head else name


def gram_key(name: str, expert: int | None) -> str:
    """Of the array in the file."""
    return f"gram/{name}" if expert is None else f"gram/{name}/{expert}"


class Statistics:
    """A file of statistics, or llama.cpp's importance matrix. Read when asked for, one array at a time."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises FileFormatError, OSError."""
        self.path = Path(path)
        self._last_importance = lru_cache(1)(self._importance)  # slices of one tensor come one after the other
        self._theirs: dict[str, NDArray[np.float32]] | None = None
        self._arrays: set[str] = set()
        self._read_once = lru_cache(None)(self._read)  # of few bytes, asked for with every slice
        if zipfile.is_zipfile(self.path):
            with zipfile.ZipFile(self.path) as archive:
                self._arrays = {n.removesuffix(".npy") for n in archive.namelist()}
            if not any(n.startswith(("sums/", "sensitivity/")) for n in self._arrays):
                raise FileFormatError(f"{path}: expected statistics of `qwen3edge calibrate`, found another archive")
        else:
            self._theirs = read_imatrix(self.path)

    def mean_squares(self, name: str) -> NDArray[np.float32] | None:
        """[experts, columns] of a tensor's input, zeros for an expert that saw no token; None where none are known."""
        if self._theirs is not None:
            candidates = (name, _renamed(name, _THEIRS), input_name(name))
            return next((self._theirs[n] for n in candidates if n in self._theirs), None)
        sums, counts = self._read(f"sums/{input_name(name)}"), self._read(f"counts/{input_name(name)}")
        if sums is None or counts is None:
            return None
        means: NDArray[np.float32] = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
        return means

    def importance(self, name: str, columns: int) -> NDArray[np.float32] | None:
        """As `_core.quantize` takes it: [experts, columns], relative to the expert's mean; ones for an expert that saw
        no token. Raises CheckpointError for statistics of a tensor of another shape.
        """
        return self._last_importance(name, columns)

    def _importance(self, name: str, columns: int) -> NDArray[np.float32] | None:
        squares = self.mean_squares(name)
        if squares is None:
            return None
        if squares.size % columns:
            raise CheckpointError(
                f"{self.path}: expected statistics of {columns} columns for {name!r}, found {squares.shape[-1]}"
            )
        squares = squares.reshape(-1, columns).astype(np.float64)
        means = squares.mean(axis=1, keepdims=True)
        relative = np.where(means > 0, squares / np.where(means > 0, means, 1), 1)
        clipped: NDArray[np.float32] = np.clip(relative, LEAST_IMPORTANCE, MOST_IMPORTANCE).astype(np.float32)
        return clipped

    def counts(self, name: str) -> NDArray[np.int64] | None:
        """[experts], tokens that a tensor's input was seen of; None where that is not known."""
        return self._read_once(f"counts/{input_name(name)}")

    def gram(self, name: str, columns: int, expert: int | None = None) -> NDArray[np.float32] | None:
        """X^T X [columns, columns] of a tensor's input, or of one of its experts'.

        Raises CheckpointError for one of another shape.
        """
        found: NDArray[Any] | None = self._read(gram_key(input_name(name), expert))
        if found is not None and found.shape != (columns, columns):
            raise CheckpointError(
                f"{self.path}: expected X^T X of {columns} columns for {name!r}, found {list(found.shape)}"
            )
        return found

    @property
    def has_grams(self) -> bool:
        """Whether GPTQ can use it."""
        return any(name.startswith("gram/") for name in self._arrays)

    def sensitivities(self) -> dict[str, float]:
        """By tensor; empty where none were measured."""
        names = [n for n in self._arrays if n.startswith("sensitivity/")]
        values = {n.removeprefix("sensitivity/"): self._read(n) for n in names}
        return {name: float(value) for name, value in values.items() if value is not None}

    def export(self, path: str | os.PathLike[str], names: Iterable[str]) -> None:
        """Writes llama.cpp's importance matrix for the tensors of these names."""
        squares = {name: self.mean_squares(name) for name in names}
        write_imatrix(path, {name: found for name, found in squares.items() if found is not None})

    def _read(self, key: str) -> NDArray[Any] | None:
        if key not in self._arrays:
            return None
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                values: NDArray[Any] = arrays[key]
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise FileFormatError(f"{self.path}: expected the array {key!r}: {error}") from None
        if not np.isfinite(values).all():
            raise FileFormatError(f"{self.path}: expected finite numbers in {key!r}")
        return values


class StatisticsWriter(Closing):
    """Writes arrays one by one; the file appears under its name at `commit`. Use it in a `with` statement."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises OSError."""
        self._path = Path(path)
        self._temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.part")
        self._archive = zipfile.ZipFile(self._temporary, "w", zipfile.ZIP_STORED)

    def close(self) -> None:
        """Removes what was written, unless it was committed."""
        self._archive.close()
        self._temporary.unlink(missing_ok=True)

    def write(self, key: str, values: NDArray[np.generic]) -> None:
        """One array."""
        # Without the time, so that the same statistics are the same bytes.
        with self._archive.open(zipfile.ZipInfo(f"{key}.npy"), "w", force_zip64=True) as file:
            np.lib.format.write_array(file, values, allow_pickle=False)

    def commit(self) -> None:
        """Brings all to the disk, and only then gives the file its name."""
        self._archive.close()
        with self._temporary.open("rb") as file:
            sync(file.fileno())
        os.replace(self._temporary, self._path)
