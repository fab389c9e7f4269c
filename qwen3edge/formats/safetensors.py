"""Reads the weights of a Hugging Face folder, one slice of rows at a time, with `pread`: nothing stays in memory."""

from __future__ import annotations

import json
import math
import os
import re
import stat
import struct
from collections import Counter
from collections.abc import Callable
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

PLAIN = ("BF16", "F16", "F32")
"""What weights are that nothing quantized."""

_DTYPES: dict[str, np.dtype[Any]] = {
    "BF16": np.dtype(np.uint16),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
    "F8_E4M3": np.dtype(np.uint8),
    **{f"{sign}{8 * size}": np.dtype(f"<{sign.lower()}{size}") for sign in "IU" for size in (1, 2, 4, 8)},
}
_SHARD_NAME = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors\Z", re.DOTALL)
_LFS_POINTER = b"version https://git-lfs"
_MAX_INDEX_BYTES = 256 << 20


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies."""

    shard: int
    shape: tuple[int, ...]
    element: str  # safetensors' name of its type
    dtype: np.dtype[Any]  # that it is read as: bfloat16 as uint16, float8 as uint8
    offset: int  # bytes from the start of the shard


class SafetensorsFolder(Shards):
    """The tensors of one or many shards, by name."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        single: str | None = None,
        any_type: bool = False,
        name_of: Callable[[str], str | None] = lambda stored: stored,
    ) -> None:
        """Opens and checks every shard, behind links, too.

        single: the name of the only one, where it is not a model's. any_type: not only weights of PLAIN types. name_of:
        what a stored tensor is called here; None leaves it out.
        Raises MissingShardError for a shard that is absent, a Git LFS pointer or no safetensors file; CheckpointError
        for an index that contradicts the files, or several files without one; UnsupportedModelError for another
        element type.
        """
        self.folder = Path(folder)
        self.notes: list[str] = []  # what was read, where the files leave a doubt
        self.left_out: list[str] = []  # tensors, by their stored names
        self._name_of = name_of
        self._tensors: dict[str, StoredTensor] = {}
        self._allowed = tuple(_DTYPES) if any_type else PLAIN
        super().__init__()
        with self.closed_on_failure():
            expected = self._shard_names() if single is None else {single: None}
            for shard, contents in expected.items():
                self._open_shard(shard, contents)

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

    def file_of(self, name: str) -> Path:
        """The shard that a tensor lies in, one of `paths`."""
        return self._paths[self._tensor(name).shard]

    def element(self, name: str) -> str:
        """Safetensors' name of the type: BF16, F8_E4M3, I32 .."""
        return self._tensor(name).element

    def read_rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) of a matrix, or elements of a vector: float32, float16, or uint16 holding bfloat16.

        Other types as they are, float8 as uint8. Of three dimensions, as of two: the first two count the rows.
        May be called from several threads. Raises CheckpointError when the shard ends too early.
        """
        tensor = self._tensor(name)
        inner = tensor.shape[1:][-1:]  # a row's columns; nothing for a vector
        width = math.prod(inner)
        out = np.empty((stop - start, *inner), tensor.dtype)
        self._read(tensor.shard, tensor.offset + start * width * tensor.dtype.itemsize, out, name)
        return out

    def read_whole(self, name: str) -> NDArray[Any]:
        """All rows, or elements; a scalar as one."""
        shape = self.shape(name)
        return self.read_rows(name, 0, math.prod(shape[:-1] if len(shape) > 1 else shape))

    def _tensor(self, name: str) -> StoredTensor:
        try:
            return self._tensors[name]
        except KeyError:
            raise CheckpointError(f"{self.folder}: expected the tensor {name!r}, found none of that name") from None

    def _shard_names(self) -> dict[str, set[str] | None]:
        """The shards, each with the tensors that the index says it has."""
        index, single = self.folder / INDEX, self.folder / SINGLE
        if not os.path.lexists(index):
            return {SINGLE: None} if os.path.lexists(single) else dict.fromkeys(self._unindexed())
        shards = self._indexed(index)
        if SINGLE in shards or not os.path.lexists(single):
            return dict(shards)
        present = [shard for shard in shards if os.path.lexists(self.folder / shard)]
        if present:
            raise CheckpointError(
                f"{self.folder}: found {SINGLE} and {INDEX} with {present[0]}, two models: transformers reads the "
                "first, vLLM and SGLang go by the index; move away the one that is out of date"
            )
        self.notes.append(f"{SINGLE} was read: {INDEX} names other files, which are not there")
        return {SINGLE: None}

    def _indexed(self, index: Path) -> dict[str, set[str]]:
        weights = read_json(index, _MAX_INDEX_BYTES).get("weight_map")
        if not isinstance(weights, dict) or not weights:
            raise CheckpointError(
                f"{index}: expected a weight_map from tensors to files, found {type(weights).__name__}"
            )
        shards: dict[str, set[str]] = {}
        for tensor, shard in weights.items():
            if not isinstance(shard, str) or not _is_plain_name(shard):
                raise CheckpointError(
                    f"{index}: {tensor!r}: expected the name of a file in the folder, found {shard!r}"
                )
            shards.setdefault(shard, set()).add(tensor)
        return dict(sorted(shards.items()))

    def _unindexed(self) -> list[str]:
        """The only file, or the only set of shards, where neither an index nor a usual name tells."""
        try:
            found = sorted(os.listdir(self.folder))
        except OSError as error:
            raise MissingShardError(f"{self.folder}: cannot list: {error.strerror}") from None
        files = [name for name in found if name.endswith(".safetensors")]
        expected = f"{self.folder}: expected {SINGLE} or {INDEX}"
        if not files:
            pickled = [name for name in found if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
            hint = f"; save_pretrained(..., safe_serialization=True) makes one of {pickled[0]}" if pickled else ""
            raise MissingShardError(f"{expected}, found neither{hint}")
        if "adapter_config.json" in found and any(name.startswith("adapter") for name in files):
            raise CheckpointError(f"{expected}, found an adapter; convert the model it was trained on with --lora")
        matches = [_SHARD_NAME.match(name) for name in files]
        sets = {(match["stem"], int(match["count"])) for match in matches if match is not None}
        if not sets and len(files) == 1:
            self.notes.append(f"{files[0]} was read as the model: it is the only file of weights")
            return files
        if len(sets) != 1 or None in matches:
            raise CheckpointError(f"{expected}, found neither, and several files: {', '.join(files[:4])}")
        ((stem, count),) = sets
        for number in range(1, min(count, len(files)) + 1):
            name = f"{stem}-{number:05}-of-{count:05}.safetensors"
            if name not in files:
                raise MissingShardError(f"{self.folder / name}: the checkpoint needs this file, which is absent")
        if len(files) != count:
            raise MissingShardError(f"{self.folder}: expected {count} files by their names, found {len(files)}")
        self.notes.append(f"{count} files were read as the model, without an index: {files[0]} ..")
        return files

    def _open_shard(self, name: str, contents: set[str] | None) -> None:
        path = self.folder / name
        descriptor = self._open(path)
        header, start = _read_header(path, descriptor)
        missing, extra = sorted((contents or set()) - set(header)), sorted(set(header) - (contents or set(header)))
        if missing:
            raise CheckpointError(f"{path}: expected {missing[0]!r}, which {INDEX} promises, found it nowhere")
        if extra:  # as transformers does; who goes by the index refuses
            self.notes.append(f"{len(extra)} tensors of {name} were read, which {INDEX} does not name: {extra[0]} ..")
        for stored, entry in header.items():
            tensor = self._name_of(stored)
            if tensor is None:
                self.left_out.append(stored)
                continue
            if tensor in self._tensors:
                other = self._paths[self._tensors[tensor].shard].name
                raise CheckpointError(f"{path}: the tensor {tensor!r} is in {other}, too")
            if entry["dtype"] not in self._allowed:
                raise UnsupportedModelError(
                    f"{path}: {tensor!r}: expected bf16, f16 or f32 weights, found {entry['dtype']}"
                )
            self._tensors[tensor] = StoredTensor(
                len(self._paths) - 1,
                tuple(entry["shape"]),
                entry["dtype"],
                _DTYPES[entry["dtype"]],
                start + entry["data_offsets"][0],
            )


def read_json(path: Path, limit: int, kind: type = dict) -> Any:
    """A JSON object of at most `limit` bytes, or with kind list an array. Raises CheckpointError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would keep us waiting
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise CheckpointError(f"{path}: expected a file, found a directory or a device")
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(limit + 1)
        finally:
            os.close(descriptor)
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
    if not isinstance(value, kind):
        raise CheckpointError(
            f"{path}: expected a JSON {'object' if kind is dict else 'array'}, found {type(value).__name__}"
        )
    return value


def _is_plain_name(name: str) -> bool:
    return name not in ("", ".", "..") and os.path.basename(name) == name and "\0" not in name


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {twice!r} stands twice")
    return value


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
