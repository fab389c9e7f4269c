"""Compiles the GPU kernels that a model launches into a folder, from which a device app launches them without Python.

The folder holds a cubin (AMD: hsaco) for each distinct kernel, `manifest.json` and `qwen3edge_kernels.h`. It appears
whole or not at all.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from dataclasses import asdict
from pathlib import Path

from qwen3edge.errors import RequestError, UnsupportedModelError
from qwen3edge.extras import named_extra
from qwen3edge.runtime.aot_header import Kernel, header

try:
    import triton

    from qwen3edge.kernels.catalog import all_specializations, compilation
    from qwen3edge.kernels.compiled import MachineCode, compile_for
    from qwen3edge.kernels.specialization import MODEL_SHAPES, TARGETS, Specialization
    from qwen3edge.runtime.aot_shapes import shape_of
except ModuleNotFoundError as missing:
    raise named_extra("qwen3edge.runtime.aot", missing) from None

MANIFEST, HEADER = "manifest.json", "qwen3edge_kernels.h"
# Triton ends every kernel's parameters with two pointers to scratch, which ours do not use.
_SCRATCH = ({"name": "global_scratch", "type": "*i8"}, {"name": "profile_scratch", "type": "*i8"})


def build(target: str, model: str, folder: str | os.PathLike[str]) -> list[Kernel]:
    """Writes the folder, in place of one that an earlier call wrote; returns what its manifest lists.

    Raises RequestError for an unknown target or model, or a folder that holds something else; UnsupportedModelError
    where Triton cannot compile.
    """
    if target not in TARGETS:
        raise RequestError(f"target: expected one of {', '.join(TARGETS)}, found {target!r:.60}")
    if model not in MODEL_SHAPES:
        raise RequestError(f"model: expected one of {', '.join(MODEL_SHAPES)}, found {model!r:.60}")
    if triton.knobs.runtime.interpret:
        raise UnsupportedModelError("expected a Triton that compiles, found TRITON_INTERPRET=1")
    path = Path(folder).absolute()
    if path.exists() and not (path.is_dir() and _is_ours(path)):
        raise RequestError(f"{path}: expected no such folder, an empty one or one of kernels, found something else")
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(4)
    growing, old = path.with_name(f".{path.name}-{mark}"), path.with_name(f".{path.name}-{mark}-old")
    growing.mkdir()
    try:
        kernels = _compile_into(growing, target, model)
        if path.exists():
            path.rename(old)
        growing.rename(path)
    finally:
        shutil.rmtree(growing, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return kernels


def _is_ours(path: Path) -> bool:
    names = {entry.name for entry in path.iterdir()}
    return not names or {MANIFEST, HEADER} <= names


def _compile_into(folder: Path, target: str, model: str) -> list[Kernel]:
    kind = "hsaco" if target.startswith("gfx") else "cubin"
    compiled: dict[tuple[object, ...], tuple[str, MachineCode]] = {}
    kernels = []
    shape = shape_of(model)
    for specialization in all_specializations(shape, target):
        key = compilation(specialization)
        if key not in compiled:
            code = compile_for(specialization, target)
            compiled[key] = f"{specialization.name}.{kind}", code
            _write(folder / f"{specialization.name}.{kind}", code.compiled.asm[kind])
        kernels.append(_entry(specialization, *compiled[key], target))
    manifest = {
        "format": "qwen3edge-kernels",
        "version": 1,
        "target": target,
        "model": model,
        "shape": asdict(shape),
        "triton": triton.__version__,
        "kernels": [asdict(kernel) for kernel in kernels],
    }
    _write(folder / MANIFEST, json.dumps(manifest, indent=1).encode() + b"\n")
    _write(folder / HEADER, header(target, model, kernels).encode())
    return kernels


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _entry(specialization: Specialization, file: str, code: MachineCode, target: str) -> Kernel:
    metadata = code.compiled.metadata
    if metadata.global_scratch_size or metadata.profile_scratch_size:
        raise UnsupportedModelError(
            f"{specialization.name}: expected a kernel without scratch, which has no owner here"
        )
    signature = specialization.signature
    arguments = [
        {"name": name, "type": signature[name]}
        for name in specialization.kernel.arg_names
        if name not in specialization.constexprs
    ]
    words = re.findall(r"[A-Za-z_]\w*", " ".join(specialization.grid))
    return Kernel(
        name=specialization.name,
        file=file,
        symbol=metadata.name,
        arguments=(*arguments, *_SCRATCH),
        divisible_by_16=specialization.divisible_by_16,
        grid=specialization.grid,
        grid_variables=tuple(dict.fromkeys(words)),
        warps=specialization.num_warps,
        threads=specialization.num_warps * TARGETS[target].warp_size,
        shared_bytes=code.shared_bytes,
        registers=code.registers,
        shape=specialization.shape,
        constants=dict(specialization.constexprs),
    )
