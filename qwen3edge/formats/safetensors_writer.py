"""Writes a safetensors file whose tensors are known by shape beforehand, piece by piece."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from qwen3edge.closing import Closing
from qwen3edge.formats.atomic import sync

_ITEM_SIZES = {"F32": 4, "F16": 2, "BF16": 2, "I32": 4, "I64": 8}
_ALIGNMENT = 8


@dataclass(frozen=True)
class NewTensor:
    """A tensor to write."""

    name: str
    dtype: str  # F32, F16, BF16, I32, I64
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its data."""
        return math.prod(self.shape) * _ITEM_SIZES[self.dtype]


class SafetensorsWriter(Closing):
    """`write` takes the tensors' bytes in order; leaving the `with` statement closes the file, complete or not."""

    def __init__(self, path: Path, tensors: Sequence[NewTensor]):
        """Raises OSError."""
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        at = 0
        for tensor in tensors:
            header[tensor.name] = {
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
                "data_offsets": [at, at + tensor.nbytes],
            }
            at += tensor.nbytes
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
        self._left = at
        self._file = open(path, "xb")  # noqa: SIM115
        self._file.write(len(text).to_bytes(8, "little") + text)

    def write(self, data: NDArray[Any]) -> None:
        """The next bytes."""
        self._left -= data.nbytes
        assert self._left >= 0, "more bytes than the tensors have"
        self._file.write(data.data)

    def finish(self) -> None:
        """Brings the file to the disk."""
        assert self._left == 0, f"{self._left} bytes are missing"
        self._file.flush()
        sync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
