"""A quantized `.q3e` file's weights in float32: what the weights alone cost, run by the engine."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.formats.key_fold import KeyFold

UNQUANTIZED = ("vector", "f32", "bf16")


def write_dequantized(file: _core.ModelFile, exact: Path, out: Path) -> None:
    """out: a copy of `exact`, the same checkpoint's f32 file, with the matrices that are quantized in `file`."""
    shutil.copyfile(exact, out)
    wide = _core.ModelFile(str(out))
    offsets = {t["name"]: t["offset"] for t in wide.tensors()}
    fold, wide_fold = read_fold(file), read_fold(wide)  # scales in float16 may have cut one, so that they differ
    with out.open("r+b") as target:
        for t in file.tensors():
            if t["format"] not in UNQUANTIZED:
                values, exponents = file.dequantize(t["name"]), fold.to(wide_fold, t["name"])
                if exponents is not None:
                    values = np.ldexp(values, exponents[:, None])
                target.seek(offsets[t["name"]])
                target.write(_core.quantize("f32", values).data)


def read_fold(file: _core.ModelFile) -> KeyFold:
    """By which powers of two its queries and keys are scaled."""
    return KeyFold.read(file, ModelConfig.from_metadata(file))
