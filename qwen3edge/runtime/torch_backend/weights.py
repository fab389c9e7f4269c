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
    """Reads and repacks one tensor after the other, a few rows at a time, each into the place where it stays."""

    def __init__(self, file: _core.ModelFile, device: Device) -> None:
        self.device = device
        self._file = file
        self._tensors = {tensor["name"]: tensor for tensor in file.tensors()}

    def matrix(self, name: str) -> DeviceMatrix:
        """In the layout of its block format."""
        return self._stacked([name])

    def side_by_side(self, names: Sequence[str]) -> tuple[DeviceMatrix, ...]:
        """Matrices whose outputs lie side by side: neighbours of one format become one."""
        alike = itertools.groupby(names, key=lambda name: self._tensors[name]["format"])
        return tuple(self._stacked(list(run)) for _, run in alike)

    def gate_up(self, gate: str, up: str) -> tuple[DeviceMatrix, ...]:
        """One matrix, 16 rows of both in turn, where they have one format; else both."""
        if self._tensors[gate]["format"] == self._tensors[up]["format"]:
            return (self._stacked([gate, up], in_turn=True),)
        return self.matrix(gate), self.matrix(up)

    def _stacked(self, names: Sequence[str], in_turn: bool = False) -> DeviceMatrix:
        first = self._tensors[names[0]]
        packed = [(self._packed(name), self._tensors[name]["rows"]) for name in names]
        place, dtype = self.device.place, self.device.dtype
        return DeviceMatrix.stacked(first["format"], packed, first["columns"], place, dtype, in_turn)

    def _packed(self, name: str) -> torch.Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the mapping is read-only, and nobody writes
            return torch.from_numpy(self._file.packed(name))

    def floats(self, name: str) -> torch.Tensor:
        """[rows, columns] float32."""
        return torch.from_numpy(self._file.dequantize(name)).to(self.device.place)

    def vector(self, name: str) -> torch.Tensor:
        """[size] float32."""
        return self.floats(name).flatten()
