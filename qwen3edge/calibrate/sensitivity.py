"""How much the divergence from the unquantized model grows when one matrix alone is quantized."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qwen3edge.convert.statistics import SENSITIVITY_FORMAT
from qwen3edge.errors import RequestError
from qwen3edge.evaluate.divergence import log_divergence, log_softmax
from qwen3edge.evaluate.measure import ROWS
from qwen3edge.evaluate.private_copy import private_copy
from qwen3edge.evaluate.texts import Window
from qwen3edge.generation.model import load

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
    known: Mapping[str, float] | None = None,
    each: Callable[[dict[str, float]], None] | None = None,
) -> dict[str, float]:
    """KL divergence in nats a token by tensor name.

    folder: for the copy of the model, by default where temporary files lie. known: those that need not be measured
    again. each: called with all so far, after each. Raises RequestError for a model that is
    quantized already, or text whose logits take more than LOGITS_BYTES.
    """
    found = dict(known or {})
    with (
        private_copy(path, folder) as copy,
        load(copy.path, context=max(len(w.tokens) for w in windows), threads=threads, kv="bf16") as model,
    ):
        vocabulary, tokens = model.config.vocab_size, sum(len(w.tokens) for w in windows)
        if 4 * vocabulary * tokens > LOGITS_BYTES:
            raise RequestError(
                f"expected text of at most {LOGITS_BYTES // (4 * vocabulary)} tokens to measure sensitivities on, "
                f"found {tokens}"
            )
        reference = [model.logits(w.tokens) for w in windows]
        for done, name in enumerate(copy.matrices):
            if progress is not None:
                progress(name, done, len(copy.matrices))
            if name in found:
                continue
            copy.put_quantized(name, SENSITIVITY_FORMAT)
            found[name] = _divergence(reference, (model.logits(w.tokens) for w in windows))
            copy.restore(name)
            if each is not None:
                each(found)
    return {name: found[name] for name in copy.matrices}


def _divergence(reference: Sequence[NDArray[np.float32]], found: Iterator[NDArray[np.float32]]) -> float:
    total, tokens = 0.0, 0
    for p, q in zip(reference, found, strict=True):
        for start in range(0, len(p), ROWS):
            rows = slice(start, start + ROWS)
            total += float(log_divergence(log_softmax(p[rows]), log_softmax(q[rows])).sum())
        tokens += len(p)
    return total / tokens
