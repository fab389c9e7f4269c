"""Statistics of a model file, measured and written in one go: what `qwen3edge calibrate` does."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qwen3edge import _core
from qwen3edge.architectures.architecture import ModelTensor
from qwen3edge.calibrate.checkpoint import Checkpoint, Inputs
from qwen3edge.calibrate.collect import Collector, Input, collect, unreached_experts
from qwen3edge.calibrate.own_text import write_text
from qwen3edge.calibrate.sensitivity import LOGITS_BYTES, measure_sensitivities
from qwen3edge.config import ModelConfig
from qwen3edge.convert.names import EMBEDDING, model_tensors
from qwen3edge.convert.statistics import Statistics, StatisticsWriter, gram_key, input_name
from qwen3edge.evaluate.texts import Tokens, Window, read_documents, windows
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
    expert_grams: bool = False  # of each expert as well: experts x columns^2, a gigabyte a layer for 128 of 1,500
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
    without_gram: tuple[str, ...]  # inputs whose X^T X takes more than gram_bytes
    sensitivities: dict[str, float]


def calibrate(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    wanted: Wanted,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    resume: str | os.PathLike[str] | None = None,
) -> Report:
    """model: a `.q3e` file, best in bf16 or f32 (which sensitivities require). `out` appears when it is complete.

    resume: a folder to keep what was done in, and to go on from; the result is the same to the bit.

    Raises RequestError, FileFormatError, MemoryBudgetError, OSError.
    """
    told = progress or (lambda *_: None)
    checkpoint = Checkpoint(resume)
    path = os.fspath(model)
    config = ModelConfig.from_metadata(_core.ModelFile(path))
    with StatisticsWriter(out) as writer:
        with load(path, context=wanted.window, threads=threads, kv="bf16") as opened:
            texts = None if wanted.text is None else read_documents(wanted.text, opened.prompt_builder)
            checkpoint.begin(_key(path, wanted, texts))
            if texts is None:
                told("writing text", 0, 1)
                texts = checkpoint.documents(lambda: write_text(opened, wanted.limit or OWN_TOKENS, wanted.window))
            parts = first_tokens(list(windows(texts, wanted.window)), wanted.limit)
            found: dict[str, Input] = {}
            grams = _gram_bytes(config, wanted)
            fitting = {name for name, size in grams.items() if 0 < size <= wanted.gram_bytes}
            passes = _passes(grams, fitting, wanted.gram_bytes) if wanted.grams else [None]
            for number, names in enumerate(passes):
                title = "reading" if len(passes) == 1 else f"reading, pass {number + 1} of {len(passes)}"
                inputs, done = checkpoint.load_pass(number)
                collector = Collector(config, names, fitting, inputs)

                def each(done: int, of: int, number: int = number, title: str = title, inputs: Inputs = inputs) -> None:
                    checkpoint.save_pass(number, inputs, done, complete=done == of)
                    told(title, done, of)

                collect(opened, parts, collector, each, done=done)
                for name, seen in inputs.items():
                    _write(writer, name, seen, config)
                found |= inputs
        sensitivities: dict[str, float] = {}
        if wanted.sensitivities:
            few = first_tokens(_spread(parts), min(wanted.sensitivity_tokens, LOGITS_BYTES // (4 * config.vocab_size)))
            sensitivities = measure_sensitivities(
                path,
                few,
                folder=Path(out).resolve().parent,
                threads=threads,
                progress=told,
                known=checkpoint.sensitivities(),
                each=checkpoint.save_sensitivities,
            )
            for name, value in sensitivities.items():
                writer.write(f"sensitivity/{name}", np.array(value))
        writer.commit()
    if wanted.imatrix is not None:
        Statistics(out).export(wanted.imatrix, [t.name for t in _matrices(config)])
    tokens = sum(len(w.tokens) for w in parts)
    without = tuple(name for name, size in grams.items() if size > wanted.gram_bytes)
    return Report(Path(out), tokens, len(found), config.experts, unreached_experts(found), without, sensitivities)


def _write(writer: StatisticsWriter, name: str, seen: Input, config: ModelConfig) -> None:
    """And forgets X^T X."""
    writer.write(f"sums/{name}", seen.sums)
    writer.write(f"counts/{name}", seen.counts)
    if seen.gram is None:
        return
    for expert, gram in enumerate(seen.gram):
        writer.write(gram_key(name, expert if "_exps" in name else None), gram)
    seen.gram = None


def _key(path: str, wanted: Wanted, documents: Sequence[Tokens] | None) -> str:
    """What makes two calibrations the same."""
    stat = os.stat(path)
    digest = zlib.crc32(repr(documents).encode())
    settings = replace(wanted, text=None, imatrix=None)
    return f"{os.path.realpath(path)}:{stat.st_size}:{stat.st_mtime_ns} {settings} {digest:08x}"


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


def _gram_bytes(config: ModelConfig, wanted: Wanted) -> dict[str, int]:
    """Of X^T X by input; 0 where none is wanted. What is good for a tied head is not for the embedding."""
    sizes: dict[str, int] = {}
    for tensor in _matrices(config):
        name = input_name(tensor.name)
        experts = config.experts if tensor.holds_experts else 1
        excluded = name == EMBEDDING or not wanted.grams or (tensor.holds_experts and not wanted.expert_grams)
        sizes.setdefault(name, 0 if excluded else 4 * experts * tensor.columns**2)
    return sizes


def _passes(sizes: Mapping[str, int], fitting: Collection[str], budget: int) -> list[list[str] | None]:
    """The inputs that are collected together."""
    passes: list[list[str] | None] = []
    names: list[str] = []
    held = 0
    for name, wanted in sizes.items():
        size = wanted if name in fitting else 0
        if names and held + size > budget:
            passes.append(names)
            names, held = [], 0
        names.append(name)
        held += size
    return [*passes, names]
