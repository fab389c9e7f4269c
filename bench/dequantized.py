"""A quantized `.q3e` file's weights in float32: what the weights alone cost, run by the engine."""

from __future__ import annotations

import shutil
from pathlib import Path

from qwen3edge import _core

UNQUANTIZED = ("vector", "f32", "bf16")


def write_dequantized(file: _core.ModelFile, exact: Path, out: Path) -> None:
    """out: a copy of `exact`, the same checkpoint's f32 file, with the matrices that are quantized in `file`."""
    shutil.copyfile(exact, out)
    offsets = {t["name"]: t["offset"] for t in _core.ModelFile(str(out)).tensors()}
    with out.open("r+b") as target:
        for t in file.tensors():
            if t["format"] not in UNQUANTIZED:
                target.seek(offsets[t["name"]])
                target.write(_core.quantize("f32", file.dequantize(t["name"])).data)
