"""A small GGUF file in parts, every one of which a test can break."""

from __future__ import annotations

import copy
import struct
from dataclasses import dataclass, field

from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type

from tests.hostile.model_image import text


@dataclass
class Entry:
    """A tensor; offset None: after the one before."""

    name: bytes
    shape: list[int]  # innermost first, as in the file
    kind: int
    data: bytes
    offset: int | None = None


@dataclass
class GgufImage:
    """All parts of a file."""

    keys: list[tuple[bytes, tuple[int, bytes]]] = field(default_factory=list)
    tensors: list[Entry] = field(default_factory=list)
    magic: bytes = b"GGUF"
    version: int = 3
    key_count: int | None = None
    tensor_count: int | None = None
    alignment: int = 32

    def copy(self) -> GgufImage:
        return copy.deepcopy(self)

    def add(self, name: str, kind: str, shape: list[int], data: bytes | None = None) -> None:
        """data None: zeros."""
        block, size = GGML_QUANT_SIZES[Type[kind]]
        count = 1
        for extent in shape:
            count *= extent
        self.tensors.append(Entry(name.encode(), shape, Type[kind], data or bytes(count // block * size)))

    def header(self) -> bytes:
        """Not padded."""
        keys = len(self.keys) if self.key_count is None else self.key_count
        tensors = len(self.tensors) if self.tensor_count is None else self.tensor_count
        out = self.magic + struct.pack("<IQQ", self.version, tensors, keys)
        for name, (kind, data) in self.keys:
            out += text(name) + struct.pack("<I", kind) + data
        at = 0
        for tensor in self.tensors:
            offset = at if tensor.offset is None else tensor.offset
            dimensions = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
            out += text(tensor.name) + dimensions + struct.pack("<IQ", tensor.kind, offset)
            at = -(-(at + len(tensor.data)) // self.alignment) * self.alignment
        return out

    def build(self) -> bytes:
        out = self.header()
        for tensor in self.tensors:
            out += bytes(-len(out) % self.alignment) + tensor.data
        return out
