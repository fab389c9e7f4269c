"""How much the divergence from the unquantized model grows when one matrix alone is quantized.

The model is a private copy of a file in f32 or bf16. Its matrices are overwritten one by one, in the file, with what
SENSITIVITY_FORMAT would make of them; the mapping shows that to the engine at once.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.convert.statistics import SENSITIVITY_FORMAT
from qwen3edge.errors import RequestError
from qwen3edge.evaluate.divergence import log_divergence, log_softmax
from qwen3edge.evaluate.measure import ROWS
from qwen3edge.evaluate.texts import Window
from qwen3edge.generation.model import load

EXACT = ("f32", "bf16")
ROUTER = "ffn_gate_inp"  # always float32
LOGITS_BYTES = 256 << 20  # of reference logits that are kept

Progress = Callable[[str, int, int], None]
"""Tensor, how many are done, of how many."""


def measure_sensitivities(
    path: str | os.PathLike[str],
    windows: Sequence[Window],
    *,
    folder: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """KL divergence in nats a token by tensor name.

    folder: for the copy of the model, by default where temporary files lie. Raises RequestError for a model that is
    quantized already, or text whose logits take more than LOGITS_BYTES.
    """
    path = os.fspath(path)
    file = _core.ModelFile(path)
    tensors = [t for t in file.tensors() if t["format"] != "vector" and ROUTER not in t["name"]]
    for t in tensors:
        if t["format"] not in EXACT:
            raise RequestError(f"{path}: expected a model in f32 or bf16, found {t['name']} in {t['format']}")
    found = {}
    with (
        _copied(path, folder) as copy,
        load(copy, context=max(len(w.tokens) for w in windows), threads=threads, kv="bf16") as model,
    ):
        vocabulary, tokens = model.config.vocab_size, sum(len(w.tokens) for w in windows)
        if 4 * vocabulary * tokens > LOGITS_BYTES:
            raise RequestError(
                f"expected text of at most {LOGITS_BYTES // (4 * vocabulary)} tokens to measure sensitivities on, "
                f"found {tokens}"
            )
        reference = [model.logits(w.tokens) for w in windows]
        with Path(copy).open("r+b", buffering=0) as out:
            for done, t in enumerate(tensors):
                if progress is not None:
                    progress(t["name"], done, len(tensors))
                out.seek(t["offset"])
                out.write(_perturbed(file, t).data)
                found[t["name"]] = _divergence(reference, (model.logits(w.tokens) for w in windows))
                out.seek(t["offset"])
                out.write(file.packed(t["name"]).data)
    return found


def _perturbed(file: _core.ModelFile, tensor: _core.TensorInfo) -> NDArray[np.uint8]:
    """The tensor's bytes, its values those of SENSITIVITY_FORMAT."""
    weights = file.dequantize(tensor["name"])
    packed = _core.quantize(SENSITIVITY_FORMAT, weights)
    return _core.quantize(tensor["format"], _core.dequantize(SENSITIVITY_FORMAT, packed, *weights.shape))


def _divergence(reference: Sequence[NDArray[np.float32]], found: Iterator[NDArray[np.float32]]) -> float:
    total, tokens = 0.0, 0
    for p, q in zip(reference, found, strict=True):
        for start in range(0, len(p), ROWS):
            rows = slice(start, start + ROWS)
            total += float(log_divergence(log_softmax(p[rows]), log_softmax(q[rows])).sum())
        tokens += len(p)
    return total / tokens


@contextmanager
def _copied(path: str, folder: str | os.PathLike[str] | None) -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir=folder, prefix="qwen3edge-") as temporary:
        copy = Path(temporary) / "model.q3e"
        shutil.copyfile(path, copy)
        yield str(copy)
