"""The architectures that are converted and run, found by listing this folder: docs/architectures.md adds one."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module

from qwen3edge.architectures.architecture import Architecture
from qwen3edge.errors import UnsupportedModelError, shown

ARCHITECTURES: Mapping[str, Architecture] = {
    architecture.model_type: architecture
    for module in sorted(found.name for found in pkgutil.iter_modules(__path__))
    for architecture in getattr(import_module(f"{__name__}.{module}"), "ARCHITECTURES", ())
}
"""By the model type that config.json and a `.q3e` file name."""


_IN_CONFIG_JSON = {
    name: architecture
    for architecture in ARCHITECTURES.values()
    for name in (architecture.model_type, *architecture.other_types)
}


def find_architecture(model_type: object) -> Architecture:
    """By the model type of a `.q3e` file. Raises UnsupportedModelError."""
    return _find(model_type, ARCHITECTURES)


def find_hf_architecture(model_type: object) -> Architecture:
    """By the model type of a config.json. Raises UnsupportedModelError."""
    return _find(model_type, _IN_CONFIG_JSON)


def _find(model_type: object, known: Mapping[str, Architecture]) -> Architecture:
    if not isinstance(model_type, str) or model_type not in known:
        raise UnsupportedModelError(f"model_type: expected one of {', '.join(known)}, found {shown(model_type)}")
    return known[model_type]
