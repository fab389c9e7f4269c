"""The header of a GGUF file: keys, values and where each tensor lies."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.gguf_writer import WriterState
from numpy.typing import NDArray

_ELEMENT_TYPES = {
    np.dtype(np.uint8): gguf.GGUFValueType.UINT8,
    np.dtype(np.uint32): gguf.GGUFValueType.UINT32,
    np.dtype(np.int32): gguf.GGUFValueType.INT32,
    np.dtype(np.uint64): gguf.GGUFValueType.UINT64,
    np.dtype(np.float32): gguf.GGUFValueType.FLOAT32,
}

MetadataItem = bool | int | float | str | tuple[int, ...] | Sequence[str] | NDArray[Any]
"""bool, uint32, float32, string, arrays of uint32, of string and of the NumPy type (uint8, uint32, int32, uint64,
float32)."""


@dataclass(frozen=True)
class HeaderTensor:
    """One entry; its data starts after the one before, at the next multiple of the alignment."""

    name: str
    shape: tuple[int, ...]  # outermost first
    type: gguf.GGMLQuantizationType
    nbytes: int
    alignment: int = 1  # in the file, besides the header's own


def gguf_header(
    architecture: str, alignment: int, metadata: Mapping[str, MetadataItem], tensors: Sequence[HeaderTensor]
) -> bytes:
    """Up to the end of the last entry, not padded."""
    writer = _HeaderWriter(architecture)
    writer.add_custom_alignment(alignment)
    for key, value in metadata.items():
        _add(writer, key, value)
    for tensor in tensors:
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.int8), tensor.nbytes, tensor.type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    keys = writer.out.getvalue()
    # The library's own table knows one alignment for all tensors.
    length = len(keys) + sum(len(_entry(tensor, 0)) for tensor in tensors)
    start = -(-length // alignment) * alignment
    places = tensor_places(length, alignment, tensors)
    return keys + b"".join(_entry(tensor, at - start) for tensor, at in zip(tensors, places, strict=True))


def tensor_places(header_bytes: int, alignment: int, tensors: Sequence[HeaderTensor]) -> list[int]:
    """Where each tensor starts, from the start of the file."""
    at, places = header_bytes, []
    for tensor in tensors:
        unit = math.lcm(alignment, tensor.alignment)
        at = -(-at // unit) * unit
        places.append(at)
        at += tensor.nbytes
    return places


def _entry(tensor: HeaderTensor, offset: int) -> bytes:
    name = tensor.name.encode()
    shape = tuple(reversed(tensor.shape))
    return struct.pack(f"<Q{len(name)}sI{len(shape)}QIQ", len(name), name, len(shape), *shape, tensor.type, offset)


class _HeaderWriter(gguf.GGUFWriter):
    """GGUFWriter, into memory."""

    def __init__(self, architecture: str) -> None:
        super().__init__(None, architecture)
        self.out = io.BytesIO()

    def open_output_file(self, path: Path | None = None) -> None:
        self.fout = [self.out]  # type: ignore[list-item]
        self.state = WriterState.EMPTY


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
