"""Adapters as mlx-lm saves them: adapter_config.json, adapters.safetensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge.convert.adapter import AdapterFiles, Changes, Update
from qwen3edge.convert.experts import expert_rows, expert_shape
from qwen3edge.errors import CheckpointError, UnsupportedModelError

MLX_WEIGHTS = "adapters.safetensors"

_SWITCH = ".switch_mlp."
_FUSE = "fuse it with mlx_lm.fuse --dequantize and convert what that saves"


def is_mlx(keys: Mapping[str, Any]) -> bool:
    """Whether an adapter_config.json is mlx-lm's."""
    return "peft_type" not in keys and ("fine_tune_type" in keys or "lora_parameters" in keys)


def mlx_changes(files: AdapterFiles, keys: Mapping[str, Any], where: str) -> Changes:
    """Raises CheckpointError, UnsupportedModelError."""
    kind = keys.get("fine_tune_type", "lora")
    changes = Changes()
    if kind == "full":
        for stored in files.files.names():
            module, _, last = stored.rpartition(".")
            name = f"{files.module(module)}.{last}"
            files.require_whole(name, stored)
            changes.whole[name] = stored
    elif kind == "lora":
        scale = _scale(keys.get("lora_parameters"), where)
        halves: dict[str, dict[str, str]] = {}
        for name in files.files.names():
            module, _, half = name.rpartition(".")
            if half not in ("lora_a", "lora_b"):
                raise UnsupportedModelError(f"{files.where}: expected lora_a and lora_b, found {name!r}; {_FUSE}")
            halves.setdefault(module, {})[half] = name
        for module, names in halves.items():
            if len(names) != 2:
                raise CheckpointError(f"{files.where}: {module!r}: expected lora_a and lora_b, found one of them")
            for weight, update in _updates(files, module, names["lora_a"], names["lora_b"], scale):
                changes.updates.setdefault(weight, []).append(update)
    else:
        raise UnsupportedModelError(f"{where}: fine_tune_type: expected 'lora' or 'full', found {kind!r:.60}; {_FUSE}")
    return changes


def _scale(parameters: object, where: str) -> float:
    scale = parameters.get("scale") if isinstance(parameters, Mapping) else None
    if type(scale) not in (int, float) or not math.isfinite(scale):  # type: ignore[arg-type]
        raise CheckpointError(f"{where}: lora_parameters: expected a number 'scale', found {parameters!r:.80}")
    if "alpha" in parameters:  # type: ignore[operator]
        raise UnsupportedModelError(
            f"{where}: lora_parameters: expected no 'alpha', which old versions of mlx-lm multiply into the scale and "
            f"new ones ignore; {_FUSE}, with the version that trained it"
        )
    return float(scale)  # type: ignore[arg-type]


def _updates(files: AdapterFiles, module: str, a: str, b: str, scale: float) -> list[tuple[str, Update]]:
    """lora_a [in, rank], lora_b [rank, out]; of experts [experts, rank, in] and [experts, out, rank]."""
    ours = files.module(module)
    if _SWITCH in ours and files.config.is_moe:
        return _expert_updates(files, ours, a, b, scale)
    weight = f"{ours}.weight"
    if weight not in files.found or len(files.shape(weight)) != 2:
        raise CheckpointError(f"{files.where}: expected modules of the checkpoint, found {module!r}")
    shape = files.shape(weight)
    if weight == files.embedding:  # lora_a [rows, rank], lora_b [rank, columns]; a tied head has it, too
        return [(weight, files.product(module, b, a, shape, lambda _: scale))]
    return [(weight, files.product(module, a, b, shape, lambda _: scale, transposed=True))]


def _expert_updates(files: AdapterFiles, module: str, a: str, b: str, scale: float) -> list[tuple[str, Update]]:
    config = files.config
    count = config.experts
    mlp, _, last = module.partition(_SWITCH)
    projection = last.removesuffix("_proj")
    rows, columns = expert_shape(projection, config)
    found_a, found_b = files.files.shape(a), files.files.shape(b)
    rank = found_a[1] if len(found_a) == 3 else 0
    if projection not in ("gate", "up", "down") or (found_a, found_b) != ((count, rank, columns), (count, rows, rank)):
        raise CheckpointError(
            f"{files.where}: {module!r}: expected lora_a [{count}, rank, {columns}] and lora_b "
            f"[{count}, {rows}, rank], found {list(found_a)} and {list(found_b)}"
        )

    def rows_of_b(first: int, start: int, stop: int) -> NDArray[np.float32]:
        return files.read_rows(b, first + start, first + stop)

    updates = []
    for expert in range(count):
        read_a = partial(files.read_rows, a, expert * rank, (expert + 1) * rank)
        name, first_row = expert_rows(f"{mlp}.experts", projection, expert, files.found, config)
        if name not in files.found:
            raise CheckpointError(f"{files.where}: expected modules of the checkpoint, found {module!r}")
        updates.append((name, Update(read_a, partial(rows_of_b, expert * rows), scale, first_row, rows)))
    return updates
