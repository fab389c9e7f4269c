"""A Hugging Face folder or a GGUF file becomes one `.q3e` file: config, tensors, recipe, slices, packed bytes."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qwen3edge.config import ModelConfig
from qwen3edge.convert import small_weights
from qwen3edge.convert.changed_tensors import ChangedTensors, require_unchanged
from qwen3edge.convert.experts import StackedExperts
from qwen3edge.convert.fold import choose_fold
from qwen3edge.convert.gguf_source import GgufSource, gguf_config
from qwen3edge.convert.gguf_text import GgufText
from qwen3edge.convert.hf_checkpoint import HfCheckpoint
from qwen3edge.convert.lora import Adapters, LoraSource
from qwen3edge.convert.method import Method
from qwen3edge.convert.names import FREQUENCIES, model_tensors, source_names
from qwen3edge.convert.ordered import worker_count
from qwen3edge.convert.quantize import Job, packed_slices
from qwen3edge.convert.quantized_source import QuantizedSource
from qwen3edge.convert.recipe import VECTOR, Recipe, find_recipe
from qwen3edge.convert.rope_scaling import with_scaling
from qwen3edge.convert.shard_release import DoneWith, ShardRelease
from qwen3edge.convert.small_weights import SmallWeights
from qwen3edge.convert.source import TensorSource
from qwen3edge.convert.template import given_template
from qwen3edge.convert.tokenizer import TextFiles
from qwen3edge.errors import CheckpointError
from qwen3edge.formats.atomic import require_no_input
from qwen3edge.formats.gguf import GgufFile
from qwen3edge.formats.gguf_header import MetadataItem
from qwen3edge.formats.key_fold import KeyFold
from qwen3edge.formats.q3e import Q3eWriter, TensorSpec
from qwen3edge.formats.safetensors import SafetensorsFolder
from qwen3edge.templates.given import Given

_DEFAULT_RECIPE = "int4"


@dataclass(frozen=True)
class Progress:
    """How far a conversion is."""

    tensor: str  # that is being packed
    index: int  # of the tensor, from 0
    count: int  # of tensors
    done_bytes: int  # written
    total_bytes: int  # of the file's tensors
    seconds: float  # since the start


@dataclass(frozen=True)
class ConvertReport:
    """What a conversion made."""

    path: Path
    nbytes: int
    seconds: float
    config: ModelConfig
    recipe: Recipe
    tensors: tuple[TensorSpec, ...]
    notes: tuple[str, ...]  # what differs from what the recipe says

    @property
    def bits_per_weight(self) -> float:
        """Of all matrices together."""
        matrices = [t for t in self.tensors if t.format != VECTOR]
        return 8 * sum(t.nbytes for t in matrices) / sum(t.rows * t.columns for t in matrices)


ProgressCallback = Callable[[Progress], None]


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    quant: str | Recipe | None = None,
    *,
    progress: ProgressCallback | None = None,
    threads: int | None = None,
    name: str | None = None,
    lora: Adapters | None = None,
    allow_missing_tokenizer: bool = False,
    imatrix: str | os.PathLike[str] | None = None,
    quantizer: str | None = None,
    target_bits: float | None = None,
    chat_template: Given | None = None,
    rope_scaling: str | None = None,
    origin: Mapping[str, str] | None = None,
    done_with: DoneWith | None = None,
) -> ConvertReport:
    """Converts a folder with config.json, safetensors shards and tokenizer.json, or a GGUF file.

    source: of a split GGUF file the first shard. quant: `int4`, `int8`, a block format for all matrices, or a Recipe;
    default `int4`, but for what is quantized already what holds its weights (docs/gguf.md). progress: called on this
    thread after each piece. threads: default all usable cores. name: default the checkpoint's. lora: a folder with an
    adapter of PEFT or mlx-lm, or several, merged in that order into the weights before they are quantized.
    allow_missing_tokenizer: a checkpoint without one becomes a file for token ids only. imatrix: statistics of
    `qwen3edge calibrate`, or llama.cpp's importance matrix. quantizer: "search", all columns alike; "weighted", the
    default with imatrix, columns count by what they are multiplied with; "gptq", which needs X^T X. target_bits: a
    weight, on average; measured sensitivities then choose the formats, not quant. chat_template: to pack in place of
    the checkpoint's, a path or the template itself, as in `qwen3edge.load`. rope_scaling: "yarn", for four times the
    32,768 positions that Qwen3 was trained for, "yarn:FACTOR" or "yarn:FACTOR:POSITIONS".
    origin: where the checkpoint is from, kept in the file as `qwen3edge.origin.*`. done_with: told of each file of
    weights that is not read any more, and may remove it; of plain safetensors as soon as the last tensor in it is
    packed, of others (quantized ones, GGUF, with an adapter) when the target is complete.

    The target appears when it is complete, and what was there before stays until then. Raises CheckpointError (and
    MissingShardError; SourceGoneError where done_with was told of files that must be read again),
    UnsupportedModelError, RequestError, TemplateError for a chat_template that does not compile; OSError when writing
    fails.
    """
    folder = Path(source)
    recipe = find_recipe(_DEFAULT_RECIPE if quant is None else quant)
    method = Method.choose(imatrix, quantizer, target_bits)
    template = given_template(chat_template)
    if folder.suffix in (".safetensors", ".json", ".bin") and folder.is_file():
        raise CheckpointError(f"{folder}: expected a folder or a GGUF file; give the folder, {folder.parent}")
    adapters = [] if lora is None else [lora] if isinstance(lora, str | os.PathLike) else list(lora)
    read = [source, imatrix, chat_template, *adapters]
    require_no_input(target, [path for path in read if isinstance(path, str | os.PathLike) and os.path.exists(path)])
    if not folder.is_dir() and not folder.is_file():
        raise CheckpointError(
            f"{folder}: expected a folder with config.json and safetensors files or a GGUF file, found none"
        )
    with ExitStack() as opened:
        weights: TensorSource
        quantized: GgufSource | QuantizedSource | None
        text: GgufText | TextFiles
        read_until_the_end: tuple[Path, ...] = ()
        if folder.is_dir():
            checkpoint = opened.enter_context(HfCheckpoint(folder))
            config, weights, quantized = checkpoint.config, checkpoint.source, checkpoint.quantized
            notes, read_until_the_end = checkpoint.notes, checkpoint.paths
            text = TextFiles(folder, template)
            where, own_name = ", tokenizer.json or vocab.json and merges.txt, found no such file", folder.resolve().name
            stop = text.stop_token_ids(config.stop_token_ids, config.vocab_size)
            texts = text.metadata(config.vocab_size, config.model_type, config.hidden_size)
        else:
            file = opened.enter_context(GgufFile(folder))
            require_no_input(target, file.paths)
            read_until_the_end = file.paths
            config, notes = gguf_config(file), ()
            text = GgufText(file.metadata, config.vocab_size, template)
            weights = quantized = GgufSource(file, config)
            where, own_name = " in the metadata, found none", str(file.metadata.get("general.name", folder.stem))
            stop, texts = text.stop_token_ids(), text.metadata(config.model_type, config.hidden_size)
            if adapters:
                require_unchanged(model_tensors(config), "an adapter with a GGUF file")
        if not text.present and not allow_missing_tokenizer:
            raise CheckpointError(f"{folder}: expected a tokenizer{where}")
        config = replace(config, stop_token_ids=stop)
        if rope_scaling is not None:
            config = with_scaling(config, rope_scaling)
        found_in = {f"qwen3edge.origin.{key}": value for key, value in (origin or {}).items()}
        metadata = {"general.name": name or own_name, **texts, **found_in}
        merged: list[LoraSource] = []
        for adapter in adapters:
            merged.append(opened.enter_context(LoraSource(weights, adapter, config)))
            weights, config = merged[-1], merged[-1].config
        if quantized is not None and quant is None and method.target_bits is None:
            recipe = quantized.keeping_recipe(recipe)
        by_file = done_with is not None and isinstance(weights, SafetensorsFolder)
        report = write_model(
            weights,
            config,
            metadata,
            target,
            recipe,
            progress=progress,
            threads=threads,
            method=method,
            done_with=done_with if by_file else None,
            changed=folder.is_file(),
        )
        if done_with is not None and not by_file:
            for path in read_until_the_end:
                done_with(path)
        formats = {tensor.name: tensor.format for tensor in report.tensors}
        updated = {name for adapter in merged for name in adapter.updated()}
        kept = quantized.notes(formats, updated) if quantized is not None else ()
        of_adapters = (note for adapter in merged for note in adapter.notes)
        return replace(report, notes=(*notes, *report.notes, *kept, *text.notes, *of_adapters))


def write_model(
    source: TensorSource,
    config: ModelConfig,
    metadata: Mapping[str, MetadataItem],
    target: str | os.PathLike[str],
    recipe: Recipe,
    *,
    progress: ProgressCallback | None = None,
    threads: int | None = None,
    method: Method | None = None,
    done_with: DoneWith | None = None,
    changed: bool = False,
) -> ConvertReport:
    """Packs the tensors of any source into a file. metadata: all that config and recipe do not say. done_with: as of
    `convert`, for a SafetensorsFolder. changed: the source has tensors as the file will, not as checkpoints do.
    """
    began = time.monotonic()
    tensors = model_tensors(config)
    files = source
    if not changed:
        source = ChangedTensors(source, config)
    if config.is_moe:
        source = StackedExperts(source, config)
    names = source_names(tensors, source.names(), config.tied_embeddings)
    for tensor in tensors:
        if source.shape(names[tensor.name]) != tensor.shape:
            raise CheckpointError(
                f"tensor {names[tensor.name]!r}: expected the shape {list(tensor.shape)} by its config, "
                f"found {list(source.shape(names[tensor.name]))}"
            )
    release = None
    if done_with is not None and isinstance(files, SafetensorsFolder):
        parts = source.parts if isinstance(source, StackedExperts) else lambda name: (name,)
        read = (parts(names[t.name]) if t.holds_experts else (names[t.name],) for t in tensors)
        release = ShardRelease(files, [{files.file_of(part) for part in each} for each in read], done_with)
    method = method or Method()
    recipe = method.recipe(recipe, source, names, tensors)
    specs = [TensorSpec(t.name, recipe.format_of(t, config.layers), t.rows, t.columns) for t in tensors]
    notes = _notes(specs, {t.name: recipe.wanted(t, config.layers) for t in tensors if not t.is_vector})
    frequencies = np.array(config.inverse_frequencies(), np.float32)
    specs.append(TensorSpec(FREQUENCIES, VECTOR, 1, frequencies.size))
    workers = worker_count(threads)
    ahead = workers + 1
    while True:
        quantizer = SmallWeights(method.quantizer(), config.experts)
        done, total = 0, sum(spec.nbytes for spec in specs)
        jobs = {
            t.name: Job(source, names[t.name], t, spec.format, quantizer, KeyFold.none(config))
            for t, spec in zip(tensors, specs, strict=False)
        }
        with ThreadPoolExecutor(workers, "quantize") as pool, ExitStack() as opened:
            fold = choose_fold(config, jobs, pool, ahead)
            keys = {**metadata, **config.to_metadata(), **fold.metadata(), "qwen3edge.recipe": recipe.to_json()}
            space = None if release is None else release.space([spec.nbytes for spec in specs])
            writer = opened.enter_context(Q3eWriter(target, keys, specs, space))
            for index, (tensor, job) in enumerate(zip(tensors, jobs.values(), strict=True)):
                for piece in packed_slices(replace(job, fold=fold), pool, ahead):
                    writer.write(piece)
                    done += piece.nbytes
                    if progress is not None:
                        progress(Progress(tensor.name, index, len(specs), done, total, time.monotonic() - began))
                if release is not None and not quantizer.found():
                    release.packed(index)
            small = quantizer.found()
            if not small:
                writer.write(frequencies.astype("<f4").view(np.uint8))
                writer.commit()
                break
        if release is not None:
            release.require_all(f"the {len(small)} matrices whose weights are too small for their format")
        # Known only now, and rare: packed again, as the header says from the beginning what follows.
        notes += small_weights.notes(small, {spec.name: spec.format for spec in specs})
        specs = [replace(spec, format=small_weights.KEPT) if spec.name in small else spec for spec in specs]
    if release is not None:
        release.finish()
    seconds = time.monotonic() - began
    return ConvertReport(
        Path(target), writer.nbytes, seconds, config, recipe, tuple(specs), (*notes, *quantizer.notes())
    )


def _notes(specs: list[TensorSpec], wanted: Mapping[str, str]) -> tuple[str, ...]:
    """One line for each format that had to give way."""
    changed = Counter(
        (wanted[spec.name], spec.format, spec.columns)
        for spec in specs
        if wanted.get(spec.name, spec.format) != spec.format
    )
    return tuple(
        f"{count} matrices are stored as {got}: their rows of {columns} weights cannot be divided into groups of {want}"
        for (want, got, columns), count in changed.items()
    )
