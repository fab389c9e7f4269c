"""A copy of an unquantized model whose matrices are overwritten while it is loaded.

The engine maps the copy, so it meets what is written at once: one load serves any number of variations.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.errors import RequestError
from qwen3edge.formats.blocks import PANEL_ROWS

EXACT = ("f32", "bf16")
_EXACT_IN_ALL = ("ffn_gate_inp", "ssm_alpha", "ssm_beta")  # float32 in every file
_SLICE_BYTES = 8 << 20  # of float32 at a time


class PrivateCopy:
    """Use `private_copy` to make one."""

    def __init__(self, original: _core.ModelFile, path: str) -> None:
        """Raises RequestError for a model that is quantized already."""
        self.path = path
        self._original = original
        self.matrices = matrices(original)
        for t in self.matrices.values():
            if t["format"] not in EXACT:
                raise RequestError(
                    f"{original.path}: expected a model in f32 or bf16, found {t['name']} in {t['format']}"
                )

    def put(
        self, name: str, block_format: str, packed: NDArray[np.uint8], exponents: NDArray[np.int32] | None = None
    ) -> None:
        """The matrix gets the values of packed bytes in any format, some panels at a time; rows times 2^exponents."""
        t = self.matrices[name]
        panels = packed.reshape(-1, _core.packed_nbytes(block_format, PANEL_ROWS, t["columns"]))
        step = max(1, _SLICE_BYTES // (4 * PANEL_ROWS * t["columns"]))
        with Path(self.path).open("r+b", buffering=0) as out:
            out.seek(t["offset"])
            for first in range(0, len(panels), step):
                rows = min(t["rows"] - first * PANEL_ROWS, step * PANEL_ROWS)
                values = _core.dequantize(block_format, panels[first : first + step], rows, t["columns"])
                if exponents is not None:
                    values = np.ldexp(values, exponents[first * PANEL_ROWS :][:rows, None])
                out.write(_core.quantize(t["format"], values).data)

    def put_quantized(self, name: str, block_format: str) -> None:
        """The matrix gets its own values as the plain search would quantize them."""
        self.put(name, block_format, _core.quantize(block_format, self._original.dequantize(name)))

    def restore(self, name: str) -> None:
        """The matrix gets its own values."""
        with Path(self.path).open("r+b", buffering=0) as out:
            out.seek(self.matrices[name]["offset"])
            out.write(self._original.packed(name).data)


@contextmanager
def private_copy(path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> Iterator[PrivateCopy]:
    """folder: where the copy lies until the end, by default that of temporary files. Raises RequestError, OSError."""
    original = _core.ModelFile(os.fspath(path))
    with tempfile.TemporaryDirectory(dir=folder, prefix="qwen3edge-") as temporary:
        copy = Path(temporary) / "model.q3e"
        made = PrivateCopy(original, str(copy))
        shutil.copyfile(path, copy)
        yield made


def matrices(file: _core.ModelFile) -> dict[str, _core.TensorInfo]:
    """Those that a recipe chooses formats for, in the file's order."""
    found = (t for t in file.tensors() if t["format"] != "vector")
    return {t["name"]: t for t in found if not any(name in t["name"] for name in _EXACT_IN_ALL)}
