"""Writes `.q3e` files (docs/format.md), one slice of a tensor at a time, atomically. `_core.ModelFile` reads them.

A convert that was killed leaves nothing that loads (formats/atomic.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gguf
import numpy as np
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.closing import Closing
from qwen3edge.formats.atomic import AtomicFile
from qwen3edge.formats.gguf_header import HeaderTensor, MetadataItem, gguf_header, tensor_places

FORMAT_VERSION = 1
ARCHITECTURE = "qwen3edge"
ALIGNMENT = 64
EXPERT_ALIGNMENT = 4096
EXPERTS_SUFFIX = "_exps.weight"
"""Tensors of that name start at multiples of EXPERT_ALIGNMENT in the file: experts are read past the page cache."""

CHECKSUMS = "checksums"


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


class Q3eWriter(Closing):
    """Writes one file: `write` takes the tensors' packed bytes in order, `commit` makes the file appear.

    Use it in a `with` statement: leaving it without `commit` removes what was written.
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        metadata: Mapping[str, MetadataItem],
        tensors: Sequence[TensorSpec],
        tensor_space: int | None = None,
    ):
        """tensor_space: bytes of free space that the tensors need, where it is less than they have.

        Raises CheckpointError for a target that cannot be a file and a full disk; OSError when writing fails.
        """
        self._tensors = tensors
        sizes = [spec.nbytes for spec in tensors]
        header, offsets = header_and_places(metadata, tensors, sizes)
        self._gaps = [after - at - size for at, after, size in zip(offsets, offsets[1:], sizes, strict=False)]
        header += bytes(-len(header) % ALIGNMENT)
        first_gap = bytes(offsets[0] - len(header))
        self.nbytes = offsets[-1] + 4 * (len(tensors) + 1)
        self._checksums: list[int] = []
        self._header_checksum = _core.crc32(header)
        self._crc = 0
        self._left = sizes[0] if sizes else 0  # of the tensor that is being written
        saved = 0 if tensor_space is None else sum(sizes) - tensor_space
        self._file = AtomicFile(target, self.nbytes - saved)
        with self.closed_on_failure():
            self._file.write(header + first_gap)

    def close(self) -> None:
        """Removes what was written, unless it was committed."""
        self._file.close()

    def write(self, data: NDArray[np.uint8]) -> None:
        """The next bytes of the current tensor; when it is complete, the following one is current."""
        if len(self._checksums) == len(self._tensors) or data.nbytes > self._left:
            raise AssertionError("more bytes than the tensor has")
        self._file.write(data)
        self._crc = _core.crc32(data, self._crc)
        self._left -= data.nbytes
        if self._left:
            return
        self._file.write(bytes(self._gaps[len(self._checksums)]))
        self._checksums.append(self._crc)
        self._crc = 0
        if len(self._checksums) < len(self._tensors):
            self._left = self._tensors[len(self._checksums)].nbytes

    def commit(self) -> None:
        """Writes the checksums, brings all to the disk, and only then gives the file its name."""
        if len(self._checksums) != len(self._tensors):
            raise AssertionError(f"tensor {self._tensors[len(self._checksums)].name} is incomplete")
        self._file.write(np.array([*self._checksums, self._header_checksum], "<u4").tobytes())
        self._file.commit()


def header_and_places(
    metadata: Mapping[str, MetadataItem], tensors: Sequence[TensorSpec], sizes: Sequence[int]
) -> tuple[bytes, list[int]]:
    """The header without padding, and where the tensors and the checksums lie, from the start of the file. sizes: of
    the tensors, in bytes.
    """
    keys: dict[str, MetadataItem] = {
        "qwen3edge.format_version": FORMAT_VERSION,
        **metadata,
        "qwen3edge.tensor.formats": [spec.format for spec in tensors],
        "qwen3edge.tensor.rows": np.array([spec.rows for spec in tensors], np.uint64),
        "qwen3edge.tensor.columns": np.array([spec.columns for spec in tensors], np.uint64),
    }

    def entry(name: str, size: int) -> HeaderTensor:
        alignment = EXPERT_ALIGNMENT if name.endswith(EXPERTS_SUFFIX) else ALIGNMENT
        return HeaderTensor(name, (size,), gguf.GGMLQuantizationType.I8, size, alignment)

    entries = [entry(spec.name, size) for spec, size in zip(tensors, sizes, strict=True)]
    entries.append(entry(CHECKSUMS, 4 * (len(tensors) + 1)))
    header = gguf_header(ARCHITECTURE, ALIGNMENT, keys, entries)
    return header, tensor_places(len(header), ALIGNMENT, entries)
