"""qwen3edge: a quantized edge runtime for Qwen3.

    import qwen3edge
    model = qwen3edge.load("model.q3e", memory="600MiB")
    for piece in model.generate("What is the tallest mountain?", thinking=False, max_tokens=64):
        print(piece, end="", flush=True)

Names are imported when they are first used, so that importing the package costs milliseconds.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from qwen3edge import convert, errors
    from qwen3edge.generation.answer import Answer, TextChunk, TokenLogprob, Usage
    from qwen3edge.generation.model import Model, load, plan
    from qwen3edge.generation.options import BUDGET_MESSAGE, Options
    from qwen3edge.generation.sampler import SamplingDefaults, SamplingParameters
    from qwen3edge.generation.session import Session
    from qwen3edge.generation.tool_call import ToolCall
    from qwen3edge.runtime.plan import MemoryPlan
    from qwen3edge.settings import Settings

__all__ = [
    "BUDGET_MESSAGE",
    "Answer",
    "MemoryPlan",
    "Model",
    "Options",
    "SamplingDefaults",
    "SamplingParameters",
    "Session",
    "Settings",
    "TextChunk",
    "TokenLogprob",
    "ToolCall",
    "Usage",
    "__version__",
    "convert",
    "errors",
    "load",
    "plan",
]

_HOMES = {
    "Answer": "qwen3edge.generation.answer",
    "BUDGET_MESSAGE": "qwen3edge.generation.options",
    "MemoryPlan": "qwen3edge.runtime.plan",
    "Model": "qwen3edge.generation.model",
    "Options": "qwen3edge.generation.options",
    "TextChunk": "qwen3edge.generation.answer",
    "TokenLogprob": "qwen3edge.generation.answer",
    "SamplingDefaults": "qwen3edge.generation.sampler",
    "SamplingParameters": "qwen3edge.generation.sampler",
    "Session": "qwen3edge.generation.session",
    "Settings": "qwen3edge.settings",
    "ToolCall": "qwen3edge.generation.tool_call",
    "Usage": "qwen3edge.generation.answer",
    "load": "qwen3edge.generation.model",
    "plan": "qwen3edge.generation.model",
}


def __getattr__(name: str) -> Any:
    if name in ("convert", "errors"):
        return import_module(f"qwen3edge.{name}")
    if name == "_core":
        return _built_core()
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'qwen3edge' has no attribute {name!r}")


def _built_core() -> Any:
    """The C++ core. Raises NotBuiltError where it is not."""
    name = f"{__name__}._core"
    if find_spec(name) is None:
        version = ".".join(map(str, sys.version_info[:2]))
        raise import_module("qwen3edge.errors").NotBuiltError(
            f"qwen3edge in {__path__[0]} is not built for this Python ({version}, {sys.executable}): run make, which "
            "builds it and installs it into .venv, and use .venv/bin/python; or pip install ."
        )
    return import_module(name)


def __dir__() -> list[str]:
    return sorted(__all__)
