"""The Qwen3 graph on our Triton kernels.

Imports torch and triton, so nobody imports it but `runtime/devices.py`, when a GPU is asked for.
"""

from __future__ import annotations

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.runtime.torch_backend.core import TorchCore
from qwen3edge.runtime.torch_backend.device import Device
from qwen3edge.runtime.torch_backend.plan import plan_device
from qwen3edge.settings import CheckedSettings

__all__ = ["Device", "TorchCore", "open_core", "plan_device", "plan_file"]


def open_core(file: _core.ModelFile, config: ModelConfig, settings: CheckedSettings) -> TorchCore:
    """The model on its device. Raises MemoryBudgetError, RequestError where the device is not there."""
    return TorchCore(file, config, settings.core, Device.named(settings.device), settings.int8)


def plan_file(file: _core.ModelFile, config: ModelConfig, settings: CheckedSettings) -> _core.PlanResult:
    """What `open_core` will take; with a budget the device need not be there. Raises as it does."""
    device = Device.named(settings.device, present=not settings.core["memory"])
    return plan_device(file, config, settings.core, device)
