"""Collects what the matrices multiply while a model reads text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qwen3edge.config import ModelConfig
from qwen3edge.convert.names import HEAD
from qwen3edge.errors import RequestError
from qwen3edge.evaluate.texts import Window
from qwen3edge.generation.model import Model

HEAD_EVERY, HEAD_EVERY_OF_GRAM = 8, 2
"""Of so many tokens one wants logits: the head takes a quarter of a small model's time. X^T X needs more of them."""

Progress = Callable[[int, int], None]
"""Windows done, of how many."""


@dataclass
class Input:
    """What one matrix (or several that share it) has met. sums: float64 [experts, columns]; counts: int64 [experts];
    gram: float32 [experts, columns, columns], X^T X.
    """

    sums: NDArray[np.float64]
    counts: NDArray[np.int64]
    gram: NDArray[np.float32] | None = None

    def add(self, expert: int, values: NDArray[np.float32]) -> None:
        """values: [tokens, columns]."""
        self.sums[expert] += np.square(values, dtype=np.float64).sum(axis=0)
        self.counts[expert] += len(values)
        if self.gram is not None:
            self.gram[expert] += values.T @ values


@dataclass
class Collector:
    """The observer of an engine. only: the inputs that are collected, None: all; grams: those with X^T X as well."""

    config: ModelConfig
    only: Collection[str] | None = None
    grams: Collection[str] = ()
    inputs: dict[str, Input] = field(default_factory=dict)

    def see(self, tensor: str, layer: int, expert: int, values: NDArray[np.float32]) -> None:
        """As `_core.Engine.observe` calls it."""
        if layer < 0 and self.config.tied_embeddings:
            return  # what is good for the head is not for the embedding (docs/decisions/equal-bits.md)
        name = HEAD if layer < 0 else f"blk.{layer}.{tensor}.weight"
        if self.only is not None and name not in self.only:
            return
        found = self.inputs.get(name)
        if found is None:
            experts = self.config.experts if expert >= 0 else 1
            columns = values.shape[1]
            gram = np.zeros((experts, columns, columns), np.float32) if name in self.grams else None
            found = Input(np.zeros((experts, columns)), np.zeros(experts, np.int64), gram)
            self.inputs[name] = found
        found.add(max(expert, 0), values)


def collect(
    model: Model,
    windows: Sequence[Window],
    collector: Collector,
    progress: Progress | None = None,
    *,
    done: int = 0,
) -> dict[str, Input]:
    """Reads all windows after the `done` that the collector has seen already.

    Raises RequestError without any token or for a window beyond the context.
    """
    if not windows:
        raise RequestError("expected text to calibrate on, found none")
    chunk = model.plan.chunk
    every = HEAD_EVERY_OF_GRAM if HEAD in collector.grams else HEAD_EVERY
    if model.config.tied_embeddings:
        every = 0
    slot = model.engine.acquire()
    model.engine.observe(collector.see)
    try:
        for number, window in enumerate(windows[done:], done + 1):
            model.engine.truncate(slot, 0)
            for start in range(0, len(window.tokens), chunk):
                part = window.tokens[start : start + chunk]
                positions = range(start, start + len(part))
                model.engine.extend(slot, part, logits=[every > 0 and i % every == 0 for i in positions])
            if progress is not None:
                progress(number, len(windows))
    finally:
        model.engine.observe(None)
        model.engine.release(slot)
    return collector.inputs


def unreached_experts(inputs: dict[str, Input]) -> dict[str, list[int]]:
    """By tensor, the experts that saw no token."""
    missed = {name: [int(e) for e in np.flatnonzero(found.counts == 0)] for name, found in inputs.items()}
    return {name: experts for name, experts in missed.items() if experts}
