"""Weights that are made where they lie: random codes, valid steps, scales that keep activations of their size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from bench.gpu.recorded import EmptyWeights
from qwen3edge.kernels.matmul_parts import part_types
from qwen3edge.kernels.packing import DeviceMatrix
from qwen3edge.kernels.panels import PackedFormat, packed_format

_STEPS = 8  # integer steps are 1 .. this; s * q + z stays an int8


def random_matrix(name: str, rows: int, columns: int, place: torch.device) -> DeviceMatrix:
    """Of a quantized format."""
    fmt = packed_format(name)
    parts = {
        key: _part(key, fmt, part.shape, part.dtype, columns, place)
        for key, part in part_types(fmt, rows, columns).items()
        if part is not None
    }
    return DeviceMatrix(name, rows, columns, **parts)


def _part(
    name: str, fmt: PackedFormat, shape: tuple[int, ...], dtype: torch.dtype, columns: int, place: torch.device
) -> torch.Tensor:
    if name in ("words", "high"):
        limits = torch.iinfo(dtype)
        return torch.randint(limits.min, limits.max + 1, shape, dtype=dtype, device=place)
    lanes = 8 * dtype.itemsize // 16
    if name == "steps":
        middle = (1 << fmt.bits) // 2
        s = torch.randint(1, (_STEPS if fmt.bits == 4 else 3) + 1, (*shape, lanes), dtype=torch.int64, device=place)
        word = s | (128 - s * middle) << 8  # z = - s * middle: around zero
        return _packed(word, dtype)
    size = 1.0 / (math.sqrt(columns) * (73 if fmt.kind in ("q8", "q4z", "q6z") else 4.6))
    if dtype == torch.float32:
        return torch.full(shape, 0.0 if name == "offsets" else size, device=place)
    half = torch.tensor(0.0 if name == "offsets" else size, dtype=torch.float16).view(torch.int16).long()
    return _packed(half.expand(*shape, lanes).to(place), dtype)


def _packed(lanes: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """16-bit numbers [.., lanes] to words."""
    word = torch.zeros(lanes.shape[:-1], dtype=torch.int64, device=lanes.device)
    for i in range(lanes.shape[-1]):
        word |= (lanes[..., i] & 0xFFFF) << 16 * i
    return word.to(dtype)


class RandomWeights(EmptyWeights):
    """Of the sizes and formats that a recipe gives a model, on the device: no file, and nothing to repack."""

    def _stacked(self, names: Sequence[str], in_turn: bool = False) -> DeviceMatrix:
        tensors = [self._tensors[name] for name in names]
        rows = sum(tensor["rows"] for tensor in tensors)
        return random_matrix(tensors[0]["format"], rows, tensors[0]["columns"], self.device.place)

    def floats(self, name: str) -> torch.Tensor:
        if name.startswith("rope."):
            half = self._frequencies
            return 1e6 ** -(torch.arange(half, device=self.device.place) / half)[None]
        tensor = self._tensors[name]
        shape = (tensor["rows"], tensor["columns"])
        if tensor["rows"] == 1:
            return torch.ones(shape, device=self.device.place)
        return torch.randn(shape, device=self.device.place) / math.sqrt(tensor["columns"])
