"""llama.cpp's importance matrices: mean squared activations of each column of each matrix.

Old files (`.dat`) are int32 counts, names and float32 values one after another; new ones are GGUF with `NAME.in_sum2`
and `NAME.counts`. Source: common/imatrix-loader.cpp in github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from qwen3edge.errors import CheckpointError, FileFormatError, UnsupportedModelError
from qwen3edge.formats.gguf import GgufFile

MOST_ENTRIES, MOST_NAME, MOST_VALUES = 1 << 20, 1 << 10, 1 << 28
MeanSquares = NDArray[np.float32]


def read_imatrix(path: str | os.PathLike[str]) -> dict[str, MeanSquares]:
    """By tensor name, [experts, columns] (one expert where the tensor has none, or the old format does not say how
    many). Experts that no token reached are rows of zeros. Raises FileFormatError, OSError.
    """
    with Path(path).open("rb") as file:
        magic = file.read(4)
    return _read_gguf(path) if magic == b"GGUF" else _read_old(path)


def write_imatrix(path: str | os.PathLike[str], entries: Mapping[str, MeanSquares], chunks: int = 1) -> None:
    """In the old format, which every version of llama.cpp reads. Raises OSError."""
    parts = [struct.pack("<i", len(entries))]
    for name, values in entries.items():
        encoded = name.encode()
        # The reader divides what it finds by the number of calls.
        sums = np.ascontiguousarray(values, "<f4").reshape(-1) * np.float32(chunks)
        parts += [struct.pack("<i", len(encoded)), encoded, struct.pack("<ii", chunks, sums.size), sums.tobytes()]
    parts.append(struct.pack("<i", chunks))
    Path(path).write_bytes(b"".join(parts))


def _read_gguf(path: str | os.PathLike[str]) -> dict[str, MeanSquares]:
    try:
        with GgufFile(path) as file:
            tensors = {name: _floats(file, name) for name in file.tensors}
    except (CheckpointError, UnsupportedModelError) as error:
        raise FileFormatError(f"{path}: expected an importance matrix: {error}") from None
    found = {}
    for name, sums in tensors.items():
        if not name.endswith(".in_sum2"):
            continue
        base = name.removesuffix(".in_sum2")
        counts = tensors.get(f"{base}.counts")
        if counts is None or counts.size == 0 or sums.size % counts.size:
            raise FileFormatError(f"{path}: expected counts for {base!r}, found none that fit")
        per_expert = sums.reshape(counts.size, -1) / np.maximum(counts.reshape(-1, 1), np.float32(1))
        found[base] = _checked(path, base, per_expert)
    if not found:
        raise FileFormatError(f"{path}: expected tensors named *.in_sum2, found none")
    return found


def _floats(file: GgufFile, name: str) -> MeanSquares:
    tensor = file.tensors[name]
    if tensor.type != gguf.GGMLQuantizationType.F32:
        raise CheckpointError(f"{name!r}: expected float32, found {tensor.type.name}")
    return file.read_blocks(name, 0, tensor.rows).view("<f4")


def _read_old(path: str | os.PathLike[str]) -> dict[str, MeanSquares]:
    data = Path(path).read_bytes()
    at = 0

    def number(high: int, what: str) -> int:
        nonlocal at
        if at + 4 > len(data):
            raise FileFormatError(f"{path}: expected {what}, found the end of the file")
        (value,) = struct.unpack_from("<i", data, at)
        at += 4
        if not 0 <= value <= high:
            raise FileFormatError(f"{path}: expected {what} of 0 to {high}, found {value}: no importance matrix")
        return int(value)

    found = {}
    for _ in range(number(MOST_ENTRIES, "the number of entries")):
        size = number(MOST_NAME, "the length of a name")
        name = data[at : at + size].decode("utf-8", "replace")
        at += size
        calls, values = number((1 << 31) - 1, "a number of calls"), number(MOST_VALUES, "a number of values")
        if at + 4 * values > len(data) or values == 0:
            raise FileFormatError(f"{path}: expected {values} values of {name!r}, found the end of the file")
        sums = np.frombuffer(data, "<f4", values, at).astype(np.float32)
        at += 4 * values
        found[name] = _checked(path, name, sums[None] / np.float32(max(calls, 1)))
    if not found:
        raise FileFormatError(f"{path}: expected an importance matrix, found no entries")
    return found


def _checked(path: str | os.PathLike[str], name: str, values: NDArray[Any]) -> MeanSquares:
    if not np.isfinite(values).all() or (values < 0).any():
        raise FileFormatError(f"{path}: expected mean squares for {name!r}, found negative or infinite ones")
    return values.astype(np.float32)
