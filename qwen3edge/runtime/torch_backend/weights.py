"""The tensors of a `.q3e` file on a device, repacked for the GPU kernels."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence

import torch

from qwen3edge import _core
from qwen3edge.kernels.packing import DeviceMatrix
from qwen3edge.runtime.torch_backend.device import Device


class WeightReader:
    """Reads and repacks one tensor after the other, so that never more than one lies in memory twice."""

    def __init__(self, file: _core.ModelFile, device: Device) -> None:
        self.device = device
        self._file = file
        self._tensors = {tensor["name"]: tensor for tensor in file.tensors()}

    def matrix(self, name: str) -> DeviceMatrix:
        """In the layout of its block format."""
        tensor = self._tensors[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the mapping is read-only, and nobody writes
            packed = torch.from_numpy(self._file.packed(name))
        return DeviceMatrix.from_packed(
            tensor["format"], packed, tensor["rows"], tensor["columns"], self.device.place, self.device.dtype
        )

    def side_by_side(self, names: Sequence[str]) -> tuple[DeviceMatrix, ...]:
        """Matrices whose outputs lie side by side: neighbours of one format become one."""
        alike = [list(run) for _, run in itertools.groupby(names, key=lambda name: self._tensors[name]["format"])]
        return tuple(DeviceMatrix.stack([self.matrix(name) for name in run]) for run in alike)

    def floats(self, name: str) -> torch.Tensor:
        """[rows, columns] float32."""
        return torch.from_numpy(self._file.dequantize(name)).to(self.device.place)

    def vector(self, name: str) -> torch.Tensor:
        """[size] float32."""
        return self.floats(name).flatten()
