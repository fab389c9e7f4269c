"""Tiles by op and device, from configs/*.json: measured by bench/tune.py on a device, else chosen by static counts."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import triton

from qwen3edge.kernels.errors import KernelConfigurationError

CONFIGS = Path(__file__).parent / "configs"


def configuration(op: str, target: str, rows: int = 1) -> Mapping[str, int]:
    """The entry of `op` for that many rows of activations: of the target's file, else of default.json.

    An op's entries are a list in the order of `max_rows`; the last has none. Raises KernelConfigurationError where
    there is no such entry.
    """
    for name in (target, "default"):
        for entry in _read(name).get(op, ()):
            if rows <= entry.get("max_rows", rows):
                return {key: value for key, value in entry.items() if key != "max_rows"}
    raise KernelConfigurationError(f"configuration: expected an entry for {op!r} and {rows} rows in {CONFIGS}")


def target_of(device: torch.device) -> str:
    """ "sm_87", "gfx942", ..; "default" for the interpreter."""
    return _pretended[-1] if _pretended else _target(device.type, device.index)


_pretended: list[str] = []


@contextmanager
def pretended(target: str) -> Iterator[None]:
    """While it lasts, every device of this process counts as one of that target: for launches that do not run."""
    _pretended.append(target)
    try:
        yield
    finally:
        _pretended.pop()


@functools.cache
def _target(kind: str, index: int | None) -> str:
    if kind != "cuda":
        return "default"
    backend = triton.runtime.driver.active.get_current_target()
    return f"sm_{backend.arch}" if backend.backend == "cuda" else str(backend.arch).partition(":")[0]


@functools.cache
def _read(name: str) -> Mapping[str, list[dict[str, Any]]]:
    path = CONFIGS / f"{name}.json"
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text())
    except ValueError as error:
        raise KernelConfigurationError(f"{path}: expected JSON, found {error}") from None
    if not isinstance(entries, dict):
        raise KernelConfigurationError(f"{path}: expected an object of ops, found {type(entries).__name__}")
    return entries
