"""The Qwen3 graph on our Triton kernels.

Imports torch and triton, so nobody imports it but `generation/late.py`, when a device is asked for.
"""

from qwen3edge.runtime.torch_backend.core import TorchCore
from qwen3edge.runtime.torch_backend.device import Device
from qwen3edge.runtime.torch_backend.plan import plan_device

__all__ = ["Device", "TorchCore", "plan_device"]
