"""Runs a model, and a reference beside it, over windows of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from qwen3edge.errors import RequestError
from qwen3edge.evaluate.divergence import Logits, log_divergence, log_softmax
from qwen3edge.evaluate.scores import Scores
from qwen3edge.evaluate.texts import Window
from qwen3edge.generation.model import Model
from qwen3edge.generation.sequence import OwnSequence

ROWS = 16
"""Tokens that are compared at a time: some 20 MB in float64 with Qwen3's vocabulary."""


def measure(
    model: Model,
    windows: Sequence[Window],
    reference: Model | None = None,
    *,
    begin: Scores | None = None,
    each: Callable[[Scores, int], None] | None = None,
) -> Scores:
    """begin: of the first windows, which are passed over. each: called with all scores and the number of windows done.

    Raises RequestError for a window that does not fit a model's context, or models of different vocabularies.
    """
    if reference is not None and reference.config.vocab_size != model.config.vocab_size:
        raise RequestError(
            f"reference: expected the model's vocabulary of {model.config.vocab_size} tokens, "
            f"found {reference.config.vocab_size}"
        )
    scores = Scores.empty() if begin is None else begin
    for number in range(scores.windows, len(windows)):
        scores = scores.plus(_measure_window(model, windows[number], reference, number))
        if each is not None:
            each(scores, number + 1)
    return scores


def _measure_window(model: Model, window: Window, reference: Model | None, number: int) -> Scores:
    ids, first = window.tokens, window.first
    # Row i of the logits scores token i + 1; the last row scores what comes after the window.
    wanted = range(first, len(ids))
    ours = _rows(model, ids[:-1], first - 1)
    theirs = None if reference is None else _rows(reference, ids[:-1], first - 1)
    loss, kl, agreed = [], [], []
    at = first
    for logits in ours:
        p = log_softmax(logits)
        loss.append(-p[np.arange(len(p)), ids[at : at + len(p)]])
        at += len(p)
        if theirs is not None:
            other = next(theirs)
            kl.append(log_divergence(log_softmax(other), p))
            agreed.append(other.argmax(-1) == logits.argmax(-1))
    return Scores(
        np.full(len(wanted), number, np.int32),
        np.array(wanted, np.int32),
        np.concatenate(loss).astype(np.float32),
        np.concatenate(kl).astype(np.float32) if kl else np.zeros(0, np.float32),
        np.concatenate(agreed) if agreed else np.zeros(0, np.bool_),
    )


def _rows(model: Model, ids: Sequence[int], skip: int) -> Iterator[Logits]:
    """The logits of ids[skip:], ROWS at a time whatever the engine's chunk."""
    with OwnSequence(model.engine) as sequence:
        left = np.zeros((0, model.config.vocab_size), np.float32)
        for chunk in sequence.logits(ids):
            dropped = min(skip, len(chunk))
            skip -= dropped
            rows = chunk[dropped:] if not len(left) else np.concatenate([left, chunk[dropped:]])
            whole = len(rows) // ROWS * ROWS
            for start in range(0, whole, ROWS):
                yield rows[start : start + ROWS]
            left = rows[whole:]
        if len(left):
            yield left
