"""Every code under every step and offset of every format, exactly: that the device keeps subnormal numbers."""

from __future__ import annotations

import torch

from bench.device.context import Context
from qwen3edge.kernels.matmul_parts import part_types
from qwen3edge.kernels.packing import DeviceMatrix
from qwen3edge.kernels.panels import PACKED_FORMATS, PackedFormat
from qwen3edge.kernels.quantized_matmul import quantized_matmul
from qwen3edge.kernels.references.packing import weights

COLUMNS = 256


def run(context: Context) -> None:
    """Rows of the unit matrix times weights are the weights, to the last bit where scales are 1."""
    for name, fmt in PACKED_FORMATS.items():
        if fmt.kind == "dense" or (context.interpreted and name != "q4z64"):
            continue
        matrix = all_codes(fmt, context.place, 16 if context.interpreted else None)
        expected = weights(matrix)
        unit = torch.eye(COLUMNS, device=context.place)
        for dtype in (torch.float16,) if context.interpreted else (torch.float16, torch.bfloat16):
            for rows in (1, 256):  # the tiles of decode and of prompts
                found = torch.cat(
                    [
                        quantized_matmul(unit[k : k + rows].to(dtype), matrix, wide=True)
                        for k in range(0, (2 if context.interpreted else 64) if rows == 1 else COLUMNS, rows)
                    ]
                )
                wrong = int((found != expected.T[: len(found)]).sum())
                context.result(f"codes of {name}, {dtype}, {rows} rows", wrong == 0, wrong, "wrong")


def all_codes(fmt: PackedFormat, place: torch.device, most: int | None = None) -> DeviceMatrix:
    """A row for each step and offset that the format can have, with all its codes at random; scales are 1."""
    if fmt.step_group:
        top = (1 << fmt.bits) - 1
        pairs = [(s, z) for s in range(1, 17) for z in range(-128, 128 - top * s)]
    else:
        pairs = [(1, 0)] * 256
    pairs = pairs[:: max(len(pairs) // most, 1)][:most] if most else pairs
    rows = len(pairs) // 16 * 16
    generator = torch.Generator().manual_seed(0)
    parts: dict[str, torch.Tensor] = {}
    for name, part in part_types(fmt, rows, COLUMNS).items():
        if part is None:
            continue
        if name in ("words", "high"):
            bits = torch.randint(0, 1 << (8 * part.dtype.itemsize), part.shape, generator=generator, dtype=torch.int64)
            value = (bits.to(torch.int32) << 16 >> 16).to(part.dtype) if name == "words" else bits.to(part.dtype)
        elif name == "steps":
            word = torch.tensor([s | (z + 128) << 8 for s, z in pairs[:rows]])
            filled = sum(word << 16 * i for i in range(8 * part.dtype.itemsize // 16))
            value = torch.as_tensor(filled).to(part.dtype).expand(part.shape).contiguous()
        elif name == "offsets":
            value = torch.zeros(part.shape, dtype=part.dtype)
        elif part.dtype == torch.float32:
            value = torch.ones(part.shape)
        else:
            ones = sum(0x3C00 << 16 * i for i in range(8 * part.dtype.itemsize // 16))  # of float16
            value = torch.full(part.shape, ones, dtype=part.dtype)
        parts[name] = value.to(place)
    return DeviceMatrix(fmt.name, rows, COLUMNS, **parts)
