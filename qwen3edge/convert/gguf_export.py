"""A `.q3e` file becomes a GGUF file that llama.cpp and what builds on it load."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.architectures.architecture import ModelTensor
from qwen3edge.config import ModelConfig, keys_of
from qwen3edge.convert.checkpoint import Progress, ProgressCallback
from qwen3edge.convert.gguf_source import gguf_shape
from qwen3edge.convert.names import model_tensors
from qwen3edge.convert.ordered import in_order, worker_count
from qwen3edge.convert.panel_view import PanelView
from qwen3edge.convert.rope_scaling import gguf_scaling_keys
from qwen3edge.errors import RequestError, UnsupportedModelError
from qwen3edge.formats.atomic import AtomicFile, require_no_input
from qwen3edge.formats.gguf_blocks import (
    OUTGOING,
    WRITABLE,
    GgmlType,
    export_blocks,
    holds_exactly,
    type_nbytes,
)
from qwen3edge.formats.gguf_header import HeaderTensor, MetadataItem, gguf_header
from qwen3edge.formats.key_fold import KeyFold

_ALIGNMENT = 32
_QUANTIZATION_VERSION = 2
_FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "BF16": 32}


@dataclass(frozen=True)
class ExportedTensor:
    """One tensor of an export."""

    name: str
    format: str  # block format in the `.q3e` file; vector
    stored: str  # as
    exact: bool


@dataclass(frozen=True)
class ExportReport:
    """What an export made."""

    path: Path
    nbytes: int
    seconds: float
    tensors: tuple[ExportedTensor, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for each pair of formats that are not the same weights."""
        counts = Counter((tensor.format, tensor.stored) for tensor in self.tensors if not tensor.exact)
        return tuple(
            f"{count} matrices in {have} are stored as {stored}, which does not hold them exactly"
            for (have, stored), count in counts.items()
        )


@dataclass(frozen=True)
class _Part:
    """A tensor of the GGUF file."""

    name: str
    shape: tuple[int, ...]  # outermost first
    format: str
    kind: GgmlType
    view: PanelView | None = None  # None: a vector
    tensor: ModelTensor | None = None  # that the vector is


def export_gguf(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    types: Mapping[str, str] | None = None,
    progress: ProgressCallback | None = None,
    threads: int | None = None,
) -> ExportReport:
    """types: GGUF types by block format, for others than docs/gguf.md's, such as {"q4z32": "Q8_0"}.

    The target appears when it is complete. Raises FileFormatError, RequestError; UnsupportedModelError for a model that
    GGUF cannot tell; OSError when writing fails.
    """
    began = time.monotonic()
    require_no_input(target, [source])
    file = _core.ModelFile(os.fspath(source))
    config = ModelConfig.from_metadata(file)
    fold = KeyFold.read(file, config)
    gguf_name = config.architecture.gguf_name
    for number, value in config.architecture.gguf_constants.items():
        if getattr(config, number) != value:
            raise UnsupportedModelError(
                f"{number}: expected {str(value).lower()}, as GGUF's {gguf_name} has it, found {str(not value).lower()}"
            )
    defaults = {name: outgoing.type for name, outgoing in OUTGOING.items()}
    writable = {kind.name: kind for kind in WRITABLE}
    parts = _parts(file, config, chosen_types(types, defaults, writable, "GGUF type"))
    sizes = [type_nbytes(part.kind, part.shape) for part in parts]
    header = gguf_header(
        gguf_name,
        _ALIGNMENT,
        _metadata(file, config, parts, sizes),
        [HeaderTensor(p.name, p.shape, p.kind, size) for p, size in zip(parts, sizes, strict=True)],
    )
    header += bytes(-len(header) % _ALIGNMENT)
    total = len(header) + sum(size + -size % _ALIGNMENT for size in sizes)
    workers = worker_count(threads)
    done = 0
    with AtomicFile(target, total) as out, ThreadPoolExecutor(workers, "export") as pool:
        out.write(header)
        for index, (part, size) in enumerate(zip(parts, sizes, strict=True)):
            written = 0
            for piece in in_order(pool, workers + 1, _pieces(file, fold, part)):
                out.write(piece)
                written += piece.nbytes
                if progress is not None:
                    state = Progress(part.name, index, len(parts), done + written, total, time.monotonic() - began)
                    progress(state)
            assert written == size, f"{part.name}: {written} bytes for {size}"
            out.write(bytes(-size % _ALIGNMENT))
            done += size
        out.commit()
    exported = tuple(
        ExportedTensor(p.name, p.format, p.kind.name, p.format == "vector" or holds_exactly(p.kind, p.format))
        for p in parts
    )
    return ExportReport(Path(target), total, time.monotonic() - began, exported)


T = TypeVar("T")


def chosen_types(
    types: Mapping[str, str] | None, defaults: Mapping[str, T], known: Mapping[str, T], what: str
) -> dict[str, T]:
    """What each block format becomes, by its name. Raises RequestError for names that `defaults` and `known` lack."""
    chosen = dict(defaults)
    for name, kind in (types or {}).items():
        if name not in chosen:
            raise RequestError(f"block format: expected one of {', '.join(chosen)}, found {name!r}")
        if kind not in known:
            raise RequestError(f"{what}: expected one of {', '.join(known)}, found {kind!r}")
        chosen[name] = known[kind]
    return chosen


def _parts(file: _core.ModelFile, config: ModelConfig, types: Mapping[str, GgmlType]) -> list[_Part]:
    """Experts become three dimensions, and their gates and ups tensors of their own."""
    parts = []

    def add(name: str, view: PanelView, shape: tuple[int, ...], kind: GgmlType) -> None:
        parts.append(_Part(name, shape, view.format, kind, view))

    formats = {tensor["name"]: tensor["format"] for tensor in file.tensors()}
    for tensor in model_tensors(config):
        name, packed, rows, columns = tensor.name, formats[tensor.name], tensor.rows, tensor.columns
        if tensor.is_vector:
            parts.append(_Part(tensor.gguf_name, gguf_shape(tensor), packed, GgmlType.F32, tensor=tensor))
        elif "gate_up_exps" in name:
            apart = config.experts, config.expert_ffn_size, columns
            for first, projection in enumerate(("gate", "up")):
                view = PanelView(name, packed, rows // 2, columns, first, 2)
                add(name.replace("gate_up", projection), view, apart, types[packed])
        else:
            shape = (config.experts, rows // config.experts, columns) if tensor.holds_experts else (rows, columns)
            kind = types[packed] if tensor.required_format is None else GgmlType.F32
            add(name, PanelView(name, packed, rows, columns), shape, kind)
    return parts


def _pieces(file: _core.ModelFile, fold: KeyFold, part: _Part) -> Iterator[Callable[[], NDArray[Any]]]:
    """Calls that give the tensor's bytes, in order."""
    if part.view is None:
        assert part.tensor is not None, "a vector"
        name, columns = part.tensor.name, part.tensor.columns

        def read() -> NDArray[Any]:
            values = fold.undo(name, part.format, file.packed(name), columns)
            matrix = values.view("<f4").reshape(part.shape[::-1]).T
            return np.ascontiguousarray(matrix).reshape(-1).view(np.uint8)

        yield read
        return
    for panels, rows in part.view.slices(file, fold):
        yield partial(export_rows, part.view, part.kind, panels, rows)


def export_rows(view: PanelView, kind: GgmlType, panels: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
    """Some rows of a view as a GGUF type, from the panels that hold them."""
    return export_blocks(view.format, kind, panels, view.columns)[:rows]


def _metadata(
    file: _core.ModelFile, config: ModelConfig, parts: list[_Part], sizes: list[int]
) -> dict[str, MetadataItem]:
    most = max(zip(parts, sizes, strict=True), key=lambda pair: pair[1])[0].kind.name
    numbers = {name: key.key for name, (kind, key) in keys_of(config.architecture).items() if kind is not bool}
    keys: dict[str, MetadataItem] = {
        "feed_forward_length": config.token_ffn_size,
        **{key: getattr(config, name) for name, key in numbers.items()},
        "attention.value_length": config.head_size,
        "rope.dimension_count": config.rotated,
        **gguf_scaling_keys(config.rope_scaling),
        **config.architecture.gguf_keys(config),
    }
    return {
        "general.type": "model",
        "general.name": str(file.get("general.name")) if "general.name" in file else "model",
        "general.quantization_version": _QUANTIZATION_VERSION,
        "general.file_type": _FILE_TYPES[most],
        **{f"{config.architecture.gguf_name}.{key}": value for key, value in keys.items()},
        **_tokenizer(file, config),
    }


def _tokenizer(file: _core.ModelFile, config: ModelConfig) -> dict[str, MetadataItem]:
    """As llama.cpp wants it: a token for each row of the embedding."""
    if "tokenizer.ggml.tokens" not in file:
        return {"tokenizer.ggml.model": "none"}
    values: dict[str, Any] = {key: file.get(key) for key in file.keys() if key.startswith("tokenizer.")}  # noqa: SIM118
    tokens, types = values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
    missing = range(len(tokens), config.vocab_size)
    values["tokenizer.ggml.tokens"] = [*tokens, *(f"[PAD{token}]" for token in missing)]
    values["tokenizer.ggml.token_type"] = np.array([*types, *(5 for _ in missing)], np.int32)
    values.setdefault("tokenizer.ggml.add_bos_token", False)
    return values
