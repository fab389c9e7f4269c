"""What every launcher asks of its tensors before anything runs."""

from __future__ import annotations

import torch

from qwen3edge.kernels.errors import KernelShapeError, KernelTypeError

WORKING_TYPES = (torch.float16, torch.bfloat16)  # of activations between kernels
MOST_OFFSETS = 1 << 31  # of values, where a kernel counts in 32 bits
MOST_BLOCKS = 65535  # in the second and third dimension of a grid


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


def expect_offsets(name: str, rows: int, columns: int) -> None:
    """Raises KernelShapeError where a matrix has more values than 32-bit offsets reach; a smaller chunk would do."""
    if rows * columns >= MOST_OFFSETS:
        raise KernelShapeError(
            f"{name}: expected fewer than 2^31 values, which 32-bit offsets reach, found {rows} x {columns}; "
            f"a chunk of {(MOST_OFFSETS - 1) // columns} rows would do"
        )


def expect_blocks(name: str, blocks: int, size: int) -> None:
    """Raises KernelShapeError where rows make more blocks of that size than a grid's second dimension has."""
    if blocks > MOST_BLOCKS:
        raise KernelShapeError(
            f"{name}: expected at most {MOST_BLOCKS} blocks of {size} rows in one launch, found {blocks}"
        )
