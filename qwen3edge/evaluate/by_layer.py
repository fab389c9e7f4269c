"""In which layers a quantized model loses: its divergence from the unquantized one, layer by layer.

All is measured in the unquantized model, into which the quantized values are written: what the weights alone cost.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.errors import RequestError
from qwen3edge.evaluate.measure import measure
from qwen3edge.evaluate.private_copy import matrices, private_copy
from qwen3edge.evaluate.texts import Window
from qwen3edge.formats.key_fold import KeyFold
from qwen3edge.generation.model import load

KV = "bf16"

Progress = Callable[[str, int, int], None]
"""What was measured, how many measurements are done, of how many."""


@dataclass(frozen=True)
class LayerLoss:
    """One layer, or the embedding, or the head."""

    part: str  # "embedding" (which is the head as well where they are tied), "layer 0" .., "head"
    bits_per_weight: float
    kl_alone: float  # only this part is quantized; mean, nats a token
    kl_up_to: float  # this part and all before it


def loss_by_layer(
    model: str | os.PathLike[str],
    reference: str | os.PathLike[str],
    windows: Sequence[Window],
    *,
    folder: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[LayerLoss]:
    """model: the quantized file; reference: the same model in f32 or bf16. folder: for a copy of the reference.

    Reads the text twice for each layer, with both models. Raises RequestError for a reference that is quantized or of
    another shape, MemoryBudgetError, OSError.
    """
    file = _core.ModelFile(os.fspath(model))
    parts = _parts(file)
    with private_copy(reference, folder) as copy:
        found, wanted = matrices(file), copy.matrices
        shape = {name: (t["rows"], t["columns"]) for name, t in wanted.items()}
        for name in {**found, **wanted}:
            ours = (found[name]["rows"], found[name]["columns"]) if name in found else None
            if ours != shape.get(name):
                raise RequestError(
                    f"reference: expected the matrices of {file.path}, found {name} as {shape.get(name)}, not {ours}"
                )
        fold, reference_fold = _fold(file), _fold(_core.ModelFile(os.fspath(reference)))
        context, done = max(len(w.tokens) for w in windows), 0
        with (
            load(copy.path, context=context, threads=threads, kv=KV) as changed,
            load(reference, context=context, threads=threads, kv=KV) as exact,
        ):

            def put(part: str) -> None:
                for name in parts[part]:
                    copy.put(name, found[name]["format"], file.packed(name), fold.to(reference_fold, name))

            def divergence(part: str) -> float:
                nonlocal done
                kl = float(measure(changed, windows, exact).kl.mean(dtype="float64"))
                done += 1
                if progress is not None:
                    progress(part, done, 2 * len(parts) - 1)
                return kl

            alone: dict[str, float] = {}
            up_to: dict[str, float] = {}
            for part, names in parts.items():
                put(part)
                alone[part] = divergence(part)
                for name in names:
                    copy.restore(name)
            for part in parts:
                put(part)
                up_to[part] = divergence(f"up to {part}") if up_to else alone[part]
    return [LayerLoss(part, _bits(found, names), alone[part], up_to[part]) for part, names in parts.items()]


def _fold(file: _core.ModelFile) -> KeyFold:
    return KeyFold.read(file, ModelConfig.from_metadata(file))


def _parts(file: _core.ModelFile) -> dict[str, list[str]]:
    """The matrices of each part, from the embedding to the head."""
    parts: dict[str, list[str]] = {}
    for name in matrices(file):
        kind, _, rest = name.partition(".")
        part = f"layer {rest.partition('.')[0]}" if kind == "blk" else "head" if kind == "output" else "embedding"
        parts.setdefault(part, []).append(name)
    return parts


def _bits(found: dict[str, _core.TensorInfo], names: Sequence[str]) -> float:
    weights = sum(found[name]["rows"] * found[name]["columns"] for name in names)
    return 8 * sum(found[name]["nbytes"] for name in names) / weights
