"""What is imported when it is first needed: a start is then tens of milliseconds and megabytes lighter.

`PENDING` says what each may still add to the process, for the memory plan.
"""

from __future__ import annotations

import re
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from qwen3edge import checks
from qwen3edge.errors import RequestError, shown
from qwen3edge.generation.text_size import COPIES, most_bytes

if TYPE_CHECKING:
    from qwen3edge import _core
    from qwen3edge.config import ModelConfig
    from qwen3edge.runtime.engine import Core
    from qwen3edge.runtime.plan import Settings
    from qwen3edge.templates.sandbox import BoundedSandbox

PENDING = {"numpy": 70 << 18, "tokenizers": 5 << 20, "jinja2": 33 << 18}
"""Bytes of the resident set, measured: each with what it brings along and, for jinja2, Qwen3's template compiled. numpy
took 47 to 67 << 18: right after it was installed the page cache holds its libraries in large pieces, mapped as such."""

POSITION = 64
"""Bytes of a token of a conversation: an int, and its places in the lists that hold it."""

_DEVICES = re.compile(r"cpu|cuda(:\d{1,3})?|interpreter", re.ASCII)


def pending_bytes(*, texts: bool, context: int = 0, sequences: int = 1) -> int:
    """What the program will take besides the core.

    texts: what only texts need as well: modules, and the texts of the one request that is read at a time. context:
    tokens of each of so many sequences.
    """
    modules = (size for name, size in PENDING.items() if name not in sys.modules and (texts or name == "numpy"))
    return sum(modules) + context * sequences * POSITION + (COPIES * most_bytes(context) if texts else 0)


def numpy() -> ModuleType:
    """The array library: for callers who want arrays, and for the core's own."""
    import numpy as module  # noqa: PLC0415

    return module


def checked_device(device: object) -> str:
    """The name of a device, there or not. Raises RequestError."""
    found = checks.plain(device)
    if found is None or not _DEVICES.fullmatch(found):
        raise RequestError(f"expected device as 'cpu', 'cuda', 'cuda:N' or 'interpreter', found {shown(device)}")
    return found


def torch_backend(device: str) -> ModuleType:
    """What runs models on a GPU, or in Triton's interpreter. Raises RequestError without torch and triton."""
    try:
        from qwen3edge.runtime import torch_backend as module  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise RequestError(
            f"device={device!r}: expected torch and triton (pip install 'qwen3edge[gpu]'), found no {error.name}"
        ) from None
    return module


def torch_core(file: _core.ModelFile, config: ModelConfig, chosen: Settings, device: str, *, int8: bool) -> Core:
    """`torch_backend.TorchCore` on that device. Raises RequestError where it cannot run."""
    backend = torch_backend(device)
    core: Core = backend.TorchCore(file, config, chosen, backend.Device.named(device), int8)
    return core


def torch_plan(file: _core.ModelFile, config: ModelConfig, chosen: Settings, device: str) -> _core.PlanResult:
    """What `torch_core` will take of that device; with a budget it need not be there. Raises MemoryBudgetError,
    RequestError.
    """
    backend = torch_backend(device)
    there = backend.Device.named(device, present=not chosen["memory"])
    result: _core.PlanResult = backend.plan_device(file, config, chosen, there)
    return result


def unicode_words(text: str, normalize: bool) -> list[str]:
    """`unicode_words.unicode_words`: texts in ASCII alone do without."""
    from qwen3edge.generation.unicode_words import unicode_words as find  # noqa: PLC0415

    return find(text, normalize)


def bounded_sandbox() -> BoundedSandbox:
    """A new `sandbox.BoundedSandbox`: prompts of token ids do without."""
    from qwen3edge.templates.sandbox import BoundedSandbox as Sandbox  # noqa: PLC0415

    return Sandbox()
