"""Writes `.q3e` files (docs/format.md), one slice of a tensor at a time, atomically. `_core.ModelFile` reads them.

While it is written, the file has a name that readers refuse, so that a convert that was killed leaves nothing that
loads; the next one to the same target removes what it left.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import gguf
import numpy as np
from gguf.gguf_writer import WriterState
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.errors import CheckpointError

FORMAT_VERSION = 1
ARCHITECTURE = "qwen3edge"
ALIGNMENT = 64
CHECKSUMS = "checksums"

_SUFFIX = ".part"  # csrc/io/model_file.cpp refuses it
_TOKEN_DIGITS = 16

_ELEMENT_TYPES = {
    np.dtype(np.uint32): gguf.GGUFValueType.UINT32,
    np.dtype(np.int32): gguf.GGUFValueType.INT32,
    np.dtype(np.uint64): gguf.GGUFValueType.UINT64,
    np.dtype(np.float32): gguf.GGUFValueType.FLOAT32,
}

MetadataItem = bool | int | float | str | tuple[int, ...] | Sequence[str] | NDArray[Any]
"""bool, uint32, float32, string, arrays of uint32, of string and of the NumPy type (uint32, int32, uint64, float32)."""


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of a file: its size follows from the rest."""

    name: str
    format: str  # block format
    rows: int
    columns: int

    @property
    def nbytes(self) -> int:
        """Raises RequestError for columns that the format cannot hold."""
        return _core.packed_nbytes(self.format, self.rows, self.columns)


class Q3eWriter:
    """Writes one file: `write` takes the tensors' packed bytes in order, `commit` makes the file appear.

    Use it in a `with` statement: leaving it without `commit` removes what was written.
    """

    def __init__(
        self, target: str | os.PathLike[str], metadata: Mapping[str, MetadataItem], tensors: Sequence[TensorSpec]
    ):
        """Raises CheckpointError for a target that cannot be a file and a full disk; OSError when writing fails."""
        self.target = Path(os.path.realpath(target))
        if self.target.is_dir():
            raise CheckpointError(f"{target}: expected the name of a file to write, found a directory")
        if not self.target.parent.is_dir():
            raise CheckpointError(f"{self.target.parent}: expected a directory to write into, found none")
        self._sizes = [spec.nbytes for spec in tensors]
        self._names = [spec.name for spec in tensors]
        header = _header(metadata, tensors, self._sizes)
        header += bytes(-len(header) % ALIGNMENT)
        self.nbytes = len(header) + sum(_aligned(size) for size in self._sizes) + 4 * (len(tensors) + 1)
        _remove_stale(self.target)
        _require_space(self.target.parent, self.nbytes)
        self._checksums: list[int] = []
        self._header_checksum = _core.crc32(header)
        self._crc = 0
        self._left = self._sizes[0] if self._sizes else 0  # of the tensor that is being written
        self._temporary, self._file = _create_temporary(self.target)
        try:
            self._file.write(header)
        except BaseException:
            self._abandon()
            raise

    def __enter__(self) -> Q3eWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._abandon()

    def write(self, data: NDArray[np.uint8]) -> None:
        """The next bytes of the current tensor; when it is complete, the following one is current."""
        if len(self._checksums) == len(self._sizes) or data.nbytes > self._left:
            raise AssertionError("more bytes than the tensor has")
        self._file.write(data.data)
        self._crc = _core.crc32(data, self._crc)
        self._left -= data.nbytes
        if self._left:
            return
        done = self._sizes[len(self._checksums)]
        self._file.write(bytes(-done % ALIGNMENT))
        self._checksums.append(self._crc)
        self._crc = 0
        if len(self._checksums) < len(self._sizes):
            self._left = self._sizes[len(self._checksums)]

    def commit(self) -> None:
        """Writes the checksums, brings all to the disk, and only then gives the file its name."""
        if len(self._checksums) != len(self._sizes):
            raise AssertionError(f"tensor {self._names[len(self._checksums)]} is incomplete")
        self._file.write(np.array([*self._checksums, self._header_checksum], "<u4").tobytes())
        self._file.flush()
        os.fsync(self._file.fileno())
        assert self._temporary is not None
        os.replace(self._temporary, self.target)
        self._temporary = None
        self._file.close()
        _sync_directory(self.target.parent)

    def _abandon(self) -> None:
        if self._temporary is None:
            return
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)
        self._temporary = None
        with contextlib.suppress(OSError):  # a full disk fails again when the buffer is flushed
            self._file.close()

    _temporary: Path | None
    _file: BinaryIO


class _HeaderWriter(gguf.GGUFWriter):
    """GGUFWriter, into memory."""

    def __init__(self) -> None:
        super().__init__(None, ARCHITECTURE)
        self.out = io.BytesIO()

    def open_output_file(self, path: Path | None = None) -> None:
        self.fout = [self.out]  # type: ignore[list-item]
        self.state = WriterState.EMPTY


def _header(metadata: Mapping[str, MetadataItem], tensors: Sequence[TensorSpec], sizes: Sequence[int]) -> bytes:
    writer = _HeaderWriter()
    writer.add_custom_alignment(ALIGNMENT)
    writer.add_uint32("qwen3edge.format_version", FORMAT_VERSION)
    for key, value in metadata.items():
        _add(writer, key, value)
    _add(writer, "qwen3edge.tensor.formats", [spec.format for spec in tensors])
    _add(writer, "qwen3edge.tensor.rows", np.array([spec.rows for spec in tensors], np.uint64))
    _add(writer, "qwen3edge.tensor.columns", np.array([spec.columns for spec in tensors], np.uint64))
    for name, size in zip([*(spec.name for spec in tensors), CHECKSUMS], [*sizes, 4 * (len(tensors) + 1)], strict=True):
        writer.add_tensor_info(name, (size,), np.dtype(np.int8), size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    return writer.out.getvalue()


def _add(writer: gguf.GGUFWriter, key: str, value: MetadataItem) -> None:
    kinds = gguf.GGUFValueType
    if isinstance(value, bool):
        writer.add_key_value(key, value, kinds.BOOL)
    elif isinstance(value, int):
        writer.add_key_value(key, value, kinds.UINT32)
    elif isinstance(value, float):
        writer.add_key_value(key, value, kinds.FLOAT32)
    elif isinstance(value, str):
        writer.add_key_value(key, value, kinds.STRING)
    elif isinstance(value, np.ndarray):
        writer.add_key_value(key, value.tolist(), kinds.ARRAY, _ELEMENT_TYPES[value.dtype])
    else:
        element = kinds.UINT32 if isinstance(value, tuple) and isinstance(value[0], int) else kinds.STRING
        writer.add_key_value(key, list(value), kinds.ARRAY, element)


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _create_temporary(target: Path) -> tuple[Path, BinaryIO]:
    """A new file beside the target, locked: the lock says that its writer lives, in whichever container."""
    while True:
        path = target.with_name(f".{target.name}.{secrets.token_hex(_TOKEN_DIGITS // 2)}{_SUFFIX}")
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "wb")
        with contextlib.suppress(OSError):  # a file system without locks: the file may be taken for a stale one
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_nlink:  # else another convert took it for a stale one before it was locked
            return path, file
        file.close()


def _remove_stale(target: Path) -> None:
    """Removes temporary files for this target whose writers are dead."""
    prefix = f".{target.name}."
    for entry in list(os.scandir(target.parent)):
        middle = entry.name[len(prefix) : -len(_SUFFIX)]
        ours = entry.name == f"{prefix}{middle}{_SUFFIX}" and len(middle) == _TOKEN_DIGITS and "." not in middle
        if not ours or not entry.is_file(follow_symlinks=False):
            continue
        with contextlib.suppress(OSError):  # locked: its writer lives
            descriptor = os.open(entry.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(entry.path)
            finally:
                os.close(descriptor)


def _require_space(directory: Path, nbytes: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < nbytes:
        raise CheckpointError(f"{directory}: expected {nbytes:,} bytes of free space for the model, found {free:,}")


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
