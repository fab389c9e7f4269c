"""A `.q3e` file becomes a Hugging Face folder in compressed-tensors' format: for vLLM, SGLang and transformers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.architectures.architecture import ModelTensor
from qwen3edge.config import ModelConfig
from qwen3edge.convert.changed_tensors import restored, restored_matrix
from qwen3edge.convert.checkpoint import Progress, ProgressCallback
from qwen3edge.convert.experts import stacked_projections
from qwen3edge.convert.gguf_export import ExportedTensor, ExportReport, chosen_types, export_rows
from qwen3edge.convert.hf_files import hf_config, hf_texts
from qwen3edge.convert.names import EMBEDDING, HEAD, model_tensors
from qwen3edge.convert.ordered import in_order, worker_count
from qwen3edge.convert.panel_view import PanelView
from qwen3edge.formats.atomic import AtomicFolder
from qwen3edge.formats.blocks import BLOCK_FORMATS, PANEL_ROWS
from qwen3edge.formats.gguf_blocks import GgmlType, type_nbytes
from qwen3edge.formats.key_fold import KeyFold
from qwen3edge.formats.pack_quantized import KINDS, PackedRows, Scheme, default_kind, pack_rows, pack_zeros, scheme_of
from qwen3edge.formats.safetensors_writer import NewTensor, SafetensorsWriter

_SHARD_BYTES = 5 << 30
_VERSION = "0.15.0"  # of the format's keys


@dataclass(frozen=True)
class _Module:
    """A module of the checkpoint."""

    name: str  # without `.weight`
    parameter: str  # the whole name, of what is dense
    view: PanelView | None  # None: a vector
    tensor: str  # of the file
    scheme: Scheme | None  # None: dense
    shape: tuple[int, ...]
    whole: ModelTensor | None = None  # where the checkpoint has it otherwise than the file
    linear: bool = True  # what would be quantized if nothing was said of it

    def dense_type(self, dtype: str) -> str:
        """Of what is dense; dtype: of most. What decides how long a delta net remembers stays as it is."""
        sensitive = self.whole is not None and self.whole.required_format is not None
        return "F32" if self.view is None or sensitive else dtype

    def tensors(self, dtype: str) -> list[NewTensor]:
        """What is stored of it, in the order in which it is written."""
        if self.scheme is None:
            return [NewTensor(self.parameter, self.dense_type(dtype), self.shape)]
        rows, columns = self.shape
        groups = columns // self.scheme.group
        found = [
            NewTensor(f"{self.name}.weight_packed", "I32", (rows, columns // self.scheme.per_word)),
            NewTensor(f"{self.name}.weight_scale", "F16", (rows, groups)),
            NewTensor(f"{self.name}.weight_shape", "I64", (2,)),
        ]
        if not self.scheme.symmetric:
            words = -(-rows // self.scheme.per_word)
            found.append(NewTensor(f"{self.name}.weight_zero_point", "I32", (words, groups)))
        return found


def export_compressed(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    types: Mapping[str, str] | None = None,
    progress: ProgressCallback | None = None,
    threads: int | None = None,
) -> ExportReport:
    """target: a folder that is not there yet. types: int4, int8 or dense by block format, where docs/gguf.md's are not
    wanted.

    Embedding, head and router stay dense, as servers want them. The folder appears when it is complete. Raises
    FileFormatError, RequestError, CheckpointError for a target that exists; OSError when writing fails.
    """
    began = time.monotonic()
    file = _core.ModelFile(os.fspath(source))
    config = ModelConfig.from_metadata(file)
    fold = KeyFold.read(file, config)
    defaults = {name: default_kind(name) for name in BLOCK_FORMATS if name != "vector"}
    modules = _modules(file, config, chosen_types(types, defaults, {kind: kind for kind in KINDS}, "type"))
    formats = {tensor["name"]: tensor["format"] for tensor in file.tensors()}
    used = set(formats.values()) - {"vector"}
    dtype = "F32" if used == {"f32"} else "BF16"  # in float16 the largest models' activations overflow
    shards = _shards(modules, dtype)
    total = sum(tensor.nbytes for shard in shards for module in shard for tensor in module.tensors(dtype))
    workers = worker_count(threads)
    done = index = 0
    weight_map: dict[str, str] = {}
    with AtomicFolder(target, total) as folder, ThreadPoolExecutor(workers, "export") as pool:
        for number, shard in enumerate(shards):
            name = f"model-{number + 1:05}-of-{len(shards):05}.safetensors" if len(shards) > 1 else "model.safetensors"
            entries = [tensor for module in shard for tensor in module.tensors(dtype)]
            weight_map.update((entry.name, name) for entry in entries)
            with SafetensorsWriter(folder.path / name, entries) as writer:
                for module in shard:
                    for piece in _pieces(file, fold, module, dtype, pool, workers + 1):
                        writer.write(piece)
                        done += piece.nbytes
                        if progress is not None:
                            elapsed = time.monotonic() - began
                            progress(Progress(module.name, index, len(modules), done, total, elapsed))
                    index += 1
                writer.finish()
        if len(shards) > 1:
            contents = {"metadata": {"total_size": total}, "weight_map": weight_map}
            folder.write_text("model.safetensors.index.json", json.dumps(contents, indent=1))
        for name, text in hf_texts(file, config).items():
            folder.write_text(name, text)
        keys = hf_config(config, "float32" if dtype == "F32" else "bfloat16")
        quantization = _quantization(modules)
        if quantization:
            keys["quantization_config"] = quantization
        folder.write_text("config.json", json.dumps(keys, indent=1) + "\n")
        folder.commit()
    exported = tuple(ExportedTensor(m.name, formats[m.tensor], *_stored(m, formats[m.tensor], dtype)) for m in modules)
    return ExportReport(Path(target), total, time.monotonic() - began, exported)


def _modules(file: _core.ModelFile, config: ModelConfig, types: Mapping[str, str]) -> list[_Module]:
    """Experts one by one, as Hugging Face has them."""
    formats = {tensor["name"]: tensor["format"] for tensor in file.tensors()}
    modules = []

    def add(name: str, view: PanelView, dense: bool = False, changed: ModelTensor | None = None) -> None:
        moved = changed.change.columns if changed is not None and changed.change is not None else None
        kind = types[view.format]
        scheme = None if dense else scheme_of(view.format, kind, view.columns, moved.size if moved else 0)
        shape = view.rows, view.columns
        modules.append(_Module(name, f"{name}.weight", view, view.tensor, scheme, shape, changed))

    for tensor in model_tensors(config):
        packed, name = formats[tensor.name], tensor.source.removesuffix(".weight")
        changed = None if tensor.change is None else tensor
        if tensor.is_vector:
            shape = tensor.source_shape
            modules.append(
                _Module(name, tensor.source, None, tensor.name, None, shape, changed, linear=len(shape) == 2)
            )
        elif not tensor.holds_experts:
            dense = tensor.name in (EMBEDDING, HEAD) or tensor.required_format is not None
            add(name, PanelView(tensor.name, packed, tensor.rows, tensor.columns), dense, changed)
        else:
            projections = stacked_projections(name)
            rows = tensor.rows // config.experts
            for expert in range(config.experts):
                for i, projection in enumerate(projections):
                    first = expert * (rows // PANEL_ROWS) + i
                    view = PanelView(
                        tensor.name, packed, rows // len(projections), tensor.columns, first, len(projections)
                    )
                    add(f"{name.rpartition('.')[0]}.{expert}.{projection}_proj", view)
    return modules


def _shards(modules: list[_Module], dtype: str) -> list[list[_Module]]:
    """Of at most _SHARD_BYTES each, but for larger modules."""
    shards: list[list[_Module]] = [[]]
    size = 0
    for module in modules:
        nbytes = sum(tensor.nbytes for tensor in module.tensors(dtype))
        if size + nbytes > _SHARD_BYTES and shards[-1]:
            shards.append([])
            size = 0
        shards[-1].append(module)
        size += nbytes
    return shards


def _pieces(
    file: _core.ModelFile, fold: KeyFold, module: _Module, dtype: str, pool: ThreadPoolExecutor, ahead: int
) -> Iterator[NDArray[Any]]:
    """The bytes of the module's tensors in order. Words are written as they come, the small rest is kept until then."""
    change = module.whole.change if module.whole is not None else None
    if module.view is None:
        packed = file.packed(module.tensor)
        values = fold.undo(module.tensor, "vector", packed, packed.nbytes // 4)
        yield values if module.whole is None else np.ascontiguousarray(restored(module.whole, values.view("<f4")))
        return
    slices = module.view.slices(file, fold)
    if module.scheme is None:
        kind = GgmlType.__members__[module.dense_type(dtype)]
        pieces = in_order(pool, ahead, (partial(export_rows, module.view, kind, *part) for part in slices))
        if change is None:
            yield from pieces
        else:
            yield restored_matrix(change, np.concatenate(list(pieces)).view(f"u{type_nbytes(kind, (1,))}"))
        return
    calls: Iterator[Callable[[], PackedRows]] = (
        partial(_packed, module.view, module.scheme, panels, rows) for panels, rows in slices
    )
    rest: list[PackedRows] = []
    for part in in_order(pool, ahead, calls):
        if change is None:
            yield part.words
        rest.append(PackedRows(part.words[: 0 if change is None else None], part.scale, part.zero))
    scale = np.concatenate([part.scale for part in rest])
    zeros = [part.zero for part in rest if part.zero is not None]
    zero = np.concatenate(zeros) if zeros else None
    if change is not None:
        yield restored_matrix(change, np.concatenate([part.words for part in rest]), module.scheme.per_word)
        scale = restored_matrix(change, scale, module.scheme.group)
        zero = None if zero is None else restored_matrix(change, zero, module.scheme.group)
    yield scale
    yield np.array(module.shape, "<i8")
    if zero is not None:
        yield pack_zeros(zero, module.scheme)


def _packed(view: PanelView, scheme: Scheme, panels: NDArray[np.uint8], rows: int) -> PackedRows:
    packed = pack_rows(view.format, panels, view.columns, scheme)
    zero = None if packed.zero is None else packed.zero[:rows]
    return PackedRows(packed.words[:rows], packed.scale[:rows], zero)


def _stored(module: _Module, packed: str, dtype: str) -> tuple[str, bool]:
    """As what, and whether that is exact."""
    scheme = module.scheme
    if module.view is None:
        return "f32", True
    if scheme is None:
        dense = module.dense_type(dtype)
        return dense.lower(), dense == "F32" or packed == "bf16"
    return (
        f"int{scheme.bits} in groups of {scheme.group}{'' if scheme.symmetric else ' with zero points'}",
        scheme.exact,
    )


def _quantization(modules: list[_Module]) -> dict[str, Any] | None:
    """For config.json; None when all is dense."""
    groups: dict[Scheme, list[str]] = {}
    for module in modules:
        if module.scheme is not None:
            groups.setdefault(module.scheme, []).append(module.name)
    if not groups:
        return None
    config_groups = {}
    for number, (scheme, names) in enumerate(groups.items()):
        config_groups[f"group_{number}"] = {
            "targets": ["Linear"] if len(groups) == 1 else names,
            "weights": {
                "num_bits": scheme.bits,
                "type": "int",
                "symmetric": scheme.symmetric,
                "strategy": "group",
                "group_size": scheme.group,
                "dynamic": False,
                "actorder": None,
            },
            "input_activations": None,
            "output_activations": None,
        }
    dense = [m.name for m in modules if m.scheme is None and m.linear and m.tensor != EMBEDDING]
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": config_groups,
        "ignore": sorted({"lm_head", *dense}),
        "kv_cache_scheme": None,
        "version": _VERSION,
    }
