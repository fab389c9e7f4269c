"""What every launcher asks of its tensors before anything runs."""

from __future__ import annotations

import torch

from qwen3edge.kernels.errors import KernelShapeError, KernelTypeError

WORKING_TYPES = (torch.float16, torch.bfloat16)  # of activations between kernels


def expect(
    name: str,
    tensor: torch.Tensor,
    types: tuple[torch.dtype, ...],
    shape: tuple[int | None, ...],
    beside: torch.Tensor | None = None,
) -> None:
    """Raises KernelTypeError or KernelShapeError unless the tensor is contiguous, of one of the types, of that shape
    (None: any length), and on the device of the tensor beside it."""
    if tensor.dtype not in types:
        raise KernelTypeError(f"{name}: expected {' or '.join(map(str, types))}, found {tensor.dtype}")
    fits = tensor.dim() == len(shape) and all(
        want is None or want == length for want, length in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise KernelShapeError(f"{name}: expected shape [{wanted}], found {list(tensor.shape)}")
    if not tensor.is_contiguous():
        raise KernelShapeError(f"{name}: expected a contiguous tensor, found strides {list(tensor.stride())}")
    if beside is not None and tensor.device != beside.device:
        raise KernelTypeError(f"{name}: expected a tensor on {beside.device}, found one on {tensor.device}")
    if tensor.device.type == "cuda" and tensor.data_ptr() % 16:
        # Compiled kernels load 16 bytes at once.
        raise KernelShapeError(f"{name}: expected an address that 16 divides, found {tensor.data_ptr():#x}")
