"""Reads GGUF files, single and split: metadata, and the bytes of tensors a slice of rows at a time, with `pread`.

Nothing in a header is believed: every count is held against the bytes that are left before anything is allocated. The
gguf package has the types and what their blocks mean; its own reader trusts its input and keeps an object for each
token, so the header is parsed here.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType
from gguf.gguf_reader import GGUFReader
from numpy.typing import NDArray

from qwen3edge.errors import CheckpointError, MissingShardError, UnsupportedModelError
from qwen3edge.formats.atomic import SUFFIX
from qwen3edge.formats.shards import Shards

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # 3 only added big-endian files

_SPLIT_NAME = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf\Z", re.DOTALL)
_LFS_POINTER = b"version https://git-lfs"
_DEFAULT_ALIGNMENT = 32
_MAX_KEYS = 1 << 16
_MAX_TENSORS = 1 << 20
_MAX_DIMENSIONS = 4
_MAX_SIZE = 1 << 40  # of a dimension, and of a tensor's elements
_MAX_STRING = 16 << 20
_MAX_ARRAY = 1 << 24
_MAX_SHARDS = 1024

Value: TypeAlias = bool | int | float | str | NDArray[Any] | list[str]

_BOOL, _STRING, _ARRAY = GGUFValueType.BOOL, GGUFValueType.STRING, GGUFValueType.ARRAY
_SCALARS: dict[int, np.dtype[Any]] = {
    **{kind: np.dtype(scalar).newbyteorder("<") for kind, scalar in GGUFReader.gguf_scalar_to_np.items()},
    _BOOL: np.dtype("u1"),
}


@dataclass(frozen=True)
class GgufTensor:
    """Where a tensor lies."""

    shard: int
    shape: tuple[int, ...]  # outermost first: [rows, columns], [elements], [experts, rows, columns]
    type: GGMLQuantizationType
    offset: int  # bytes from the start of the shard

    @property
    def columns(self) -> int:
        """Values of a row."""
        return self.shape[-1]

    @property
    def rows(self) -> int:
        """Of all experts together; 1 for a vector."""
        return math.prod(self.shape[:-1])

    @property
    def row_nbytes(self) -> int:
        """Bytes of a row."""
        block, size = GGML_QUANT_SIZES[self.type]
        return self.columns // block * size

    @property
    def nbytes(self) -> int:
        """Bytes of the whole."""
        return self.rows * self.row_nbytes


class GgufFile(Shards):
    """The metadata of the first shard, and the tensors of all."""

    def __init__(self, path: str | os.PathLike[str]):
        """Opens and checks every shard; path is the first one's.

        Raises MissingShardError for a shard that is absent or cut, CheckpointError for a header that contradicts itself
        or the file, UnsupportedModelError for another version or byte order, or a type that the gguf package lacks.
        """
        self.path = Path(path)
        self.metadata: dict[str, Value] = {}
        self.tensors: dict[str, GgufTensor] = {}
        super().__init__()
        with self.closed_on_failure():
            self._open_all()

    def read_blocks(self, name: str, start: int, stop: int) -> NDArray[np.uint8]:
        """The bytes of rows [start, stop): uint8 [rows, row_nbytes]. May be called from several threads.

        Raises CheckpointError when the file ends too early.
        """
        tensor = self.tensors[name]
        out = np.empty((stop - start, tensor.row_nbytes), np.uint8)
        self._read(tensor.shard, tensor.offset + start * tensor.row_nbytes, out, name)
        return out

    def _open_all(self) -> None:
        match = _SPLIT_NAME.match(self.path.name)
        self.metadata = self._open_shard(self.path)
        count = self._split_value("split.count", self.metadata, 1) if "split.count" in self.metadata else 1
        if count <= 1:
            return
        if match is None or int(match["count"]) != count:
            raise CheckpointError(
                f"{self.path}: expected a name that ends in -00001-of-{count:05}.gguf, as it is one of {count} shards"
            )
        first = self.path.with_name(f"{match['stem']}-00001-of-{count:05}.gguf")
        if int(match["number"]) != 1:
            raise CheckpointError(f"{self.path}: expected the first shard, {first.name}, found another")
        if count > _MAX_SHARDS:
            raise CheckpointError(f"{self.path}: split.count: expected at most {_MAX_SHARDS} shards, found {count}")
        for number in range(1, count):
            path = self.path.with_name(f"{match['stem']}-{number + 1:05}-of-{count:05}.gguf")
            keys = self._open_shard(path)
            for key, expected in (("split.no", number), ("split.count", count)):
                if (found := self._split_value(key, keys, path)) != expected:
                    raise CheckpointError(f"{path}: {key}: expected {expected}, found {found}")
        if "split.tensors.count" in self.metadata:
            expected = self._split_value("split.tensors.count", self.metadata, self.path)
            if expected != len(self.tensors):
                raise CheckpointError(f"{self.path}: expected {expected} tensors in all, found {len(self.tensors)}")

    @staticmethod
    def _split_value(key: str, keys: dict[str, Value], path: object) -> int:
        value = keys.get(key)
        if type(value) is not int or value < 0:
            raise CheckpointError(f"{path}: {key}: expected a number, found {value!r}")
        return value

    def _open_shard(self, path: Path) -> dict[str, Value]:
        if path.name.endswith(SUFFIX):
            raise CheckpointError(f"{path}: expected a finished file, found one that is still being written")
        descriptor = self._open(path)
        with os.fdopen(descriptor, "rb", buffering=1 << 16, closefd=False) as file:
            header = _Header(path, file, os.fstat(descriptor).st_size)
            keys, tensors = header.read(len(self._paths) - 1)
        for name, tensor in tensors.items():
            if name in self.tensors:
                other = self._paths[self.tensors[name].shard].name
                raise CheckpointError(f"{path}: the tensor {name!r} is in {other}, too")
            self.tensors[name] = tensor
        return keys


class _Header:
    """A cursor over one shard that never reads past its end."""

    def __init__(self, path: Path, file: BinaryIO, size: int):
        self._path = path
        self._file = file
        self._size = size
        self._at = 0

    def read(self, shard: int) -> tuple[dict[str, Value], dict[str, GgufTensor]]:
        """Keys and tensors."""
        magic = self._take(4, "the magic")
        if magic != MAGIC:
            self._file.seek(0)
            if self._file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise MissingShardError(f"{self._path}: expected weights, found a Git LFS pointer (git lfs pull)")
            raise CheckpointError(f"{self._path}: expected a GGUF file, found one that begins with {magic!r}")
        version = self._unsigned(4, "the version")
        if version not in VERSIONS:
            order = "a big-endian file" if version & 0xFFFF == 0 and version else f"version {version}"
            raise UnsupportedModelError(f"{self._path}: expected GGUF version 2 or 3, little-endian, found {order}")
        tensor_count, key_count = self._unsigned(8, "the tensors' count"), self._unsigned(8, "the keys' count")
        if tensor_count > _MAX_TENSORS or key_count > _MAX_KEYS:
            raise CheckpointError(
                f"{self._path}: expected at most {_MAX_TENSORS} tensors and {_MAX_KEYS} keys, "
                f"found {tensor_count} and {key_count}"
            )
        keys: dict[str, Value] = {}
        for _ in range(key_count):
            key = self._text("a key")
            if key in keys:
                raise CheckpointError(f"{self._path}: the key {key!r} stands twice")
            keys[key] = self._value(key)
        entries = [self._entry(shard) for _ in range(tensor_count)]
        return keys, self._place(entries, self._alignment(keys))

    def _alignment(self, keys: dict[str, Value]) -> int:
        value = keys.get("general.alignment", _DEFAULT_ALIGNMENT)
        if type(value) is not int or not 1 <= value <= 1 << 20 or value & (value - 1):
            raise CheckpointError(f"{self._path}: general.alignment: expected a power of two, found {value!r}")
        return value

    def _entry(self, shard: int) -> tuple[str, GgufTensor]:
        """A tensor with its offset from the start of the data."""
        name = self._text("a tensor's name")
        count = self._unsigned(4, f"the dimensions of {name!r}")
        if not 1 <= count <= _MAX_DIMENSIONS:
            raise CheckpointError(f"{self._path}: {name!r}: expected 1 to {_MAX_DIMENSIONS} dimensions, found {count}")
        shape = tuple(self._unsigned(8, f"the shape of {name!r}") for _ in range(count))[::-1]
        if min(shape) < 1 or max(shape) > _MAX_SIZE or math.prod(shape) > _MAX_SIZE:
            raise CheckpointError(f"{self._path}: {name!r}: expected sizes from 1 to 2^40 in all, found {list(shape)}")
        number = self._unsigned(4, f"the type of {name!r}")
        try:
            kind = GGMLQuantizationType(number)
            block, _ = GGML_QUANT_SIZES[kind]
        except (ValueError, KeyError):
            raise UnsupportedModelError(
                f"{self._path}: {name!r}: expected a type that the gguf package knows, found {number}"
            ) from None
        if shape[-1] % block:
            raise CheckpointError(
                f"{self._path}: {name!r}: expected rows of whole {kind.name} blocks of {block}, found {shape[-1]}"
            )
        return name, GgufTensor(shard, shape, kind, self._unsigned(8, f"the offset of {name!r}"))

    def _place(self, entries: list[tuple[str, GgufTensor]], alignment: int) -> dict[str, GgufTensor]:
        """Offsets from the start of the file; no tensor leaves it or overlaps another."""
        start = -(-self._at // alignment) * alignment
        placed: dict[str, GgufTensor] = {}
        end, last = 0, ""
        for name, tensor in sorted(entries, key=lambda entry: entry[1].offset):
            if name in placed:
                raise CheckpointError(f"{self._path}: the tensor {name!r} stands twice")
            if tensor.offset % alignment:
                raise CheckpointError(
                    f"{self._path}: {name!r}: expected an offset that {alignment} divides, found {tensor.offset}"
                )
            if tensor.offset < end:
                raise CheckpointError(f"{self._path}: {name!r} at {tensor.offset} overlaps {last!r}")
            end, last = tensor.offset + tensor.nbytes, name
            if start + end > self._size:
                raise MissingShardError(
                    f"{self._path}: {name!r}: expected data up to byte {start + end}, found a file of {self._size}"
                )
            placed[name] = GgufTensor(tensor.shard, tensor.shape, tensor.type, start + tensor.offset)
        return {name: placed[name] for name, _ in entries}

    def _value(self, key: str) -> Value:
        kind = self._unsigned(4, f"the type of {key!r}")
        if kind == _STRING:
            return self._text(key)
        if kind == _ARRAY:
            return self._array(key)
        value = self._numbers(kind, 1, key)[0]
        return bool(value) if kind == _BOOL else value.item()

    def _array(self, key: str) -> NDArray[Any] | list[str]:
        kind, count = self._unsigned(4, key), self._unsigned(8, key)
        if count > _MAX_ARRAY:
            raise CheckpointError(f"{self._path}: {key!r}: expected at most {_MAX_ARRAY} elements, found {count}")
        if kind == _ARRAY:
            raise UnsupportedModelError(f"{self._path}: {key!r}: expected numbers or strings, found an array of arrays")
        if kind != _STRING:
            return self._numbers(kind, count, key)
        if count * 8 > self._size - self._at:
            raise MissingShardError(f"{self._path}: {key!r}: the file ends before its {count} strings do")
        return [self._text(key) for _ in range(count)]

    def _numbers(self, kind: int, count: int, key: str) -> NDArray[Any]:
        dtype = _SCALARS.get(kind)
        if dtype is None:
            raise UnsupportedModelError(f"{self._path}: {key!r}: expected a type of GGUF, found {kind}")
        values = np.frombuffer(self._take(dtype.itemsize * count, key), dtype)
        if kind == _BOOL:
            if values.size and values.max() > 1:
                raise CheckpointError(f"{self._path}: {key!r}: expected 0 or 1 for a bool, found {values.max()}")
            return values.astype(np.bool_)
        return values

    def _text(self, what: str) -> str:
        length = self._unsigned(8, what)
        if length > _MAX_STRING:
            raise CheckpointError(f"{self._path}: {what}: expected at most {_MAX_STRING} bytes, found {length}")
        data = self._take(length, what)
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise CheckpointError(f"{self._path}: {what}: expected UTF-8, found {data[:40]!r}") from None

    def _unsigned(self, size: int, what: str) -> int:
        return int.from_bytes(self._take(size, what), "little")

    def _take(self, count: int, what: str) -> bytes:
        if count > self._size - self._at:
            raise MissingShardError(
                f"{self._path}: expected {count} bytes of {what} at {self._at}, found a file of {self._size}"
            )
        data = self._file.read(count)
        if len(data) != count:
            raise MissingShardError(f"{self._path}: the file shrank while its header was read")
        self._at += count
        return data
