"""Reads the weights of a Hugging Face folder, one slice of rows at a time, with `pread`: nothing stays in memory."""

from __future__ import annotations

import json
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from qwen3edge.errors import CheckpointError, MissingShardError, UnsupportedModelError
from qwen3edge.formats.shards import Shards

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

_DTYPES: dict[str, np.dtype[Any]] = {
    "BF16": np.dtype(np.uint16),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
}
_LFS_POINTER = b"version https://git-lfs"
_MAX_INDEX_BYTES = 256 << 20


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies."""

    shard: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]  # bfloat16 as uint16
    offset: int  # bytes from the start of the shard


class SafetensorsFolder(Shards):
    """The tensors of one or many shards, by name."""

    def __init__(self, folder: str | os.PathLike[str], single: str | None = None) -> None:
        """Opens and checks every shard. single: the name of the only one, where it is not a model's.

        Raises MissingShardError for a shard that is absent, a Git LFS pointer or no safetensors file; CheckpointError
        for an index that contradicts the shards; UnsupportedModelError for another element type than bf16, f16, f32.
        """
        self.folder = Path(folder)
        self._tensors: dict[str, StoredTensor] = {}
        super().__init__()
        try:
            expected = self._shard_names() if single is None else {single: None}
            for shard, contents in expected.items():
                self._open_shard(shard, contents)
        except BaseException:
            self.close()
            raise

    def names(self) -> list[str]:
        """All tensors."""
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Raises CheckpointError for a tensor that is absent."""
        return self._tensor(name).shape

    def nbytes(self, name: str) -> int:
        """Bytes of a tensor in the checkpoint."""
        tensor = self._tensor(name)
        return math.prod(tensor.shape) * tensor.dtype.itemsize

    def read_rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) of a matrix, or elements of a vector: float32, float16, or uint16 holding bfloat16.

        Of three dimensions, as of two: the first two count the rows.
        May be called from several threads. Raises CheckpointError when the shard ends too early.
        """
        tensor = self._tensor(name)
        inner = tensor.shape[1:][-1:]  # a row's columns; nothing for a vector
        width = math.prod(inner)
        out = np.empty((stop - start, *inner), tensor.dtype)
        self._read(tensor.shard, tensor.offset + start * width * tensor.dtype.itemsize, out, name)
        return out

    def _tensor(self, name: str) -> StoredTensor:
        try:
            return self._tensors[name]
        except KeyError:
            raise CheckpointError(f"{self.folder}: expected the tensor {name!r}, found none of that name") from None

    def _shard_names(self) -> dict[str, set[str] | None]:
        """The shards, each with the tensors that the index says it has."""
        index = self.folder / INDEX
        if not index.is_file():
            if not (self.folder / SINGLE).exists():
                raise MissingShardError(f"{self.folder}: expected {SINGLE} or {INDEX}, found neither")
            return {SINGLE: None}
        weights = read_json(index, _MAX_INDEX_BYTES).get("weight_map")
        if not isinstance(weights, dict) or not weights:
            raise CheckpointError(
                f"{index}: expected a weight_map from tensors to files, found {type(weights).__name__}"
            )
        shards: dict[str, set[str] | None] = {}
        for tensor, shard in weights.items():
            if not isinstance(shard, str) or not _is_plain_name(shard):
                raise CheckpointError(
                    f"{index}: {tensor!r}: expected the name of a file in the folder, found {shard!r}"
                )
            contents = shards.setdefault(shard, set())
            assert contents is not None
            contents.add(tensor)
        return dict(sorted(shards.items()))

    def _open_shard(self, name: str, contents: set[str] | None) -> None:
        path = self.folder / name
        _require_inside(self.folder, path)
        descriptor = self._open(path)
        header, start = _read_header(path, descriptor)
        found = set(header)
        if contents is not None and contents != found:
            missing, extra = sorted(contents - found), sorted(found - contents)
            if missing:
                raise CheckpointError(f"{path}: expected {missing[0]!r}, which {INDEX} promises, found it nowhere")
            raise CheckpointError(f"{path}: found {extra[0]!r}, which {INDEX} does not mention")
        for tensor, entry in header.items():
            if tensor in self._tensors:
                other = self._paths[self._tensors[tensor].shard].name
                raise CheckpointError(f"{path}: the tensor {tensor!r} is in {other}, too")
            dtype = _DTYPES.get(entry["dtype"])
            if dtype is None:
                raise UnsupportedModelError(
                    f"{path}: {tensor!r}: expected bf16, f16 or f32 weights, found {entry['dtype']}"
                )
            self._tensors[tensor] = StoredTensor(
                len(self._paths) - 1, tuple(entry["shape"]), dtype, start + entry["data_offsets"][0]
            )


def read_json(path: Path, limit: int) -> dict[str, Any]:
    """A JSON object of at most `limit` bytes. Raises CheckpointError."""
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read: {error.strerror}") from None
    if len(data) > limit:
        raise CheckpointError(f"{path}: expected at most {limit} bytes, found more")
    if data.startswith(_LFS_POINTER):
        raise CheckpointError(f"{path}: expected JSON, found a Git LFS pointer; fetch the file itself (git lfs pull)")
    try:
        value = json.loads(data, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: expected JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def _is_plain_name(name: str) -> bool:
    return name not in ("", ".", "..") and os.path.basename(name) == name and "\0" not in name


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} stands twice")
    return value


def _require_inside(folder: Path, path: Path) -> None:
    """Refuses links that leave the folder, but for the Hugging Face cache's (snapshots/X/f -> ../../blobs/hash)."""
    real, home = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if real.is_relative_to(home):
        return
    if home.parent.name == "snapshots" and real.parent == home.parent.parent / "blobs":
        return
    raise CheckpointError(f"{path}: expected a file in the folder, found a link to {real}")


def _read_header(path: Path, descriptor: int) -> tuple[dict[str, dict[str, Any]], int]:
    """The tensors' entries, and where the data starts. The library checks sizes, overlap, holes, the file's end."""
    start = os.pread(descriptor, len(_LFS_POINTER), 0)
    if start == _LFS_POINTER:
        raise MissingShardError(f"{path}: expected weights, found a Git LFS pointer (git lfs pull fetches the file)")
    try:
        with safetensors.safe_open(path, framework="np") as file:
            names = set(file.keys())
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise MissingShardError(f"{path}: expected a safetensors file: {error}") from None
    length = struct.unpack("<Q", start[:8])[0]
    header = json.loads(os.pread(descriptor, length, 8))
    header.pop("__metadata__", None)
    if set(header) != names:
        raise CheckpointError(f"{path}: expected one header of tensors, found two readings of it")
    return header, 8 + length
