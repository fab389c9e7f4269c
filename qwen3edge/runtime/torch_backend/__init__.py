"""The Qwen3 graph on our Triton kernels.

Imports torch and triton, so nobody imports it but `runtime/devices.py`, when a GPU is asked for.
"""

from __future__ import annotations

from qwen3edge.runtime.torch_backend.core import TorchCore
from qwen3edge.runtime.torch_backend.device import Device
from qwen3edge.runtime.torch_backend.plan import plan_device

__all__ = ["Device", "TorchCore", "plan_device"]
