"""Statistics of a model file, measured and written in one go: what `qwen3edge calibrate` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qwen3edge import _core
from qwen3edge.calibrate.collect import Collector, Input, collect, unreached_experts
from qwen3edge.calibrate.own_text import write_text
from qwen3edge.calibrate.sensitivity import LOGITS_BYTES, measure_sensitivities
from qwen3edge.config import ModelConfig
from qwen3edge.convert.names import EMBEDDING, HEAD, ModelTensor, model_tensors
from qwen3edge.convert.statistics import Statistics, StatisticsWriter, input_name
from qwen3edge.evaluate.texts import Window, read_documents, windows
from qwen3edge.generation.model import load

SENSITIVITY_TOKENS = 2048
OWN_TOKENS = 16384

Progress = Callable[[str, int, int], None]
"""What is being done, how much of it is done, of how much."""


@dataclass(frozen=True)
class Wanted:
    """What to measure."""

    text: str | os.PathLike[str] | None = None  # None: text that the model writes itself
    window: int = 512
    limit: int | None = None  # of tokens
    grams: bool = False  # X^T X, for GPTQ
    gram_bytes: int = 2 << 30  # held in memory at a time; the text is read again for the rest
    sensitivities: bool = False
    sensitivity_tokens: int = SENSITIVITY_TOKENS
    imatrix: str | os.PathLike[str] | None = None  # also llama.cpp's file


@dataclass(frozen=True)
class Report:
    """What was measured. unreached: experts that saw no token, by tensor."""

    path: Path
    tokens: int
    inputs: int
    experts: int
    unreached: dict[str, list[int]]
    sensitivities: dict[str, float]


def calibrate(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    wanted: Wanted,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """model: a `.q3e` file, best in bf16 or f32 (which sensitivities require). `out` appears when it is complete.

    Raises RequestError, FileFormatError, MemoryBudgetError, OSError.
    """
    told = progress or (lambda *_: None)
    path = os.fspath(model)
    config = ModelConfig.from_metadata(_core.ModelFile(path))
    with StatisticsWriter(out) as writer:
        with load(path, context=wanted.window, threads=threads, kv="bf16") as opened:
            if wanted.text is None:
                told("writing text", 0, 1)
                documents = write_text(opened, wanted.limit or OWN_TOKENS, wanted.window)
            else:
                documents = read_documents(wanted.text, opened.prompter)
            parts = first_tokens(list(windows(documents, wanted.window)), wanted.limit)
            found: dict[str, Input] = {}
            passes = _passes(config, wanted)
            for number, names in enumerate(passes, 1):
                title = "reading" if len(passes) == 1 else f"reading, pass {number} of {len(passes)}"
                collector = Collector(config, names, wanted.grams)
                inputs = collect(opened, parts, collector, lambda done, of, title=title: told(title, done, of))  # type: ignore[misc]
                for name, seen in inputs.items():
                    writer.write(f"sums/{name}", seen.sums)
                    writer.write(f"counts/{name}", seen.counts)
                    if seen.gram is not None:
                        writer.write(f"gram/{name}", seen.gram)
                        seen.gram = None
                found |= inputs
        sensitivities: dict[str, float] = {}
        if wanted.sensitivities:
            few = first_tokens(_spread(parts), min(wanted.sensitivity_tokens, LOGITS_BYTES // (4 * config.vocab_size)))
            sensitivities = measure_sensitivities(
                path, few, folder=Path(out).resolve().parent, threads=threads, progress=told
            )
            for name, value in sensitivities.items():
                writer.write(f"sensitivity/{name}", np.array(value))
        writer.commit()
    if wanted.imatrix is not None:
        Statistics(out).export(wanted.imatrix, [t.name for t in _matrices(config)])
    tokens = sum(len(w.tokens) for w in parts)
    return Report(Path(out), tokens, len(found), config.experts, unreached_experts(found), sensitivities)


def first_tokens(parts: Sequence[Window], limit: int | None) -> list[Window]:
    """The first windows, up to `limit` tokens; at least a part of one."""
    if limit is None:
        return list(parts)
    chosen: list[Window] = []
    left = limit
    for part in parts:
        if left < 2:
            break
        chosen.append(Window(part.tokens[:left], min(part.first, min(left, len(part.tokens)) - 1)))
        left -= len(part.tokens)
    return chosen


def _spread(parts: Sequence[Window]) -> list[Window]:
    """In another order, so that the first few come from the whole text."""
    order = np.random.default_rng(0).permutation(len(parts))
    return [parts[i] for i in order]


def _matrices(config: ModelConfig) -> list[ModelTensor]:
    return [t for t in model_tensors(config) if not t.is_vector and t.required_format is None]


def _passes(config: ModelConfig, wanted: Wanted) -> list[list[str] | None]:
    """The inputs that are collected together; None: all."""
    if not wanted.grams:
        return [None]
    columns: dict[str, int] = {}
    for tensor in _matrices(config):
        columns.setdefault(input_name(tensor.name), tensor.columns)
    passes: list[list[str] | None] = []
    names: list[str] = []
    held = 0
    for name, width in columns.items():
        size = 0 if name in (EMBEDDING, HEAD) or "_exps" in name else 4 * width * width
        if names and held + size > wanted.gram_bytes:
            passes.append(names)
            names, held = [], 0
        names.append(name)
        held += size
    return [*passes, names]
