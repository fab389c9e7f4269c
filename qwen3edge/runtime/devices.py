"""Which device runs a model: the C++ core on the CPU, or the same graph on a GPU."""

from __future__ import annotations

from types import ModuleType

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.errors import RequestError
from qwen3edge.runtime.engine import Engine
from qwen3edge.runtime.plan import MemoryPlan
from qwen3edge.settings import CPU, CheckedSettings


def open_engine(
    file: _core.ModelFile, config: ModelConfig, settings: CheckedSettings, draft: _core.PlannedDraft | None = None
) -> Engine:
    """The model in the memory of its device, with its draft model, whose memory the settings' `later` has. Raises
    MemoryBudgetError, before any weight is read, if the settings do not fit; RequestError where the device is not
    there.
    """
    if settings.device == CPU:
        core = _core.Engine(file, **settings.core)
        return Engine(core, config.vocab_size, None if draft is None else draft.open())
    gpu = _gpu(settings.device)
    on_gpu = gpu.TorchCore(file, config, settings.core, gpu.Device.named(settings.device), settings.int8)
    return Engine(on_gpu, config.vocab_size)


def plan_file(file: _core.ModelFile, config: ModelConfig, settings: CheckedSettings) -> MemoryPlan:
    """What these settings cost in this process as it is now, before any weight is read; with a budget a GPU need not be
    there.

    Raises MemoryBudgetError with the breakdown and the nearest settings that fit, RequestError.
    """
    if settings.device == CPU:
        return MemoryPlan(**_core.plan(file, **settings.core))
    gpu = _gpu(settings.device)
    device = gpu.Device.named(settings.device, present=not settings.core["memory"])
    return MemoryPlan(**gpu.plan_device(file, config, settings.core, device))


def _gpu(device: str) -> ModuleType:
    """`torch_backend`, which imports torch and triton. Raises RequestError without them."""
    try:
        from qwen3edge.runtime import torch_backend  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise RequestError(
            f"device={device!r}: expected torch and triton (pip install 'qwen3edge[gpu]'), found no {error.name}"
        ) from None
    return torch_backend
