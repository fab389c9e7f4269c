"""The paged cache of one layer on the device, int8 or 16 bits: its layout, and the check that every launcher makes.

    keys          [pages, kv_heads, 64, head_dim] int8      a position's key lies together
    key_scales    [pages, kv_heads, 64]           float32   one a position and head
    values        [pages, kv_heads, head_dim, 64] int8      transposed: what is summed over are positions
    value_scales  [pages, kv_heads, 64]           float32
    block_tables  [sequences, max_pages]          int32     the page of positions 64 i .. 64 i + 63 of a sequence

Value = int8 * scale. Without scales keys and values are float16 or bfloat16 as they are. Nothing of a page counts past
a sequence's length, so pages need not be cleared.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from qwen3edge.kernels.arguments import WORKING_TYPES, expect
from qwen3edge.kernels.errors import KernelShapeError, KernelTypeError

PAGE = 64  # positions; a page and head of 128 dimensions is 8 KiB of keys, and as much of values
HEAD_DIMS = range(32, 257, 32)  # qwen3edge.config
CACHE_TYPES = (torch.int8, *WORKING_TYPES)


class KvCache(NamedTuple):
    """One layer's cache; the fields are the arguments of the ops, in order."""

    keys: torch.Tensor
    key_scales: torch.Tensor | None
    values: torch.Tensor
    value_scales: torch.Tensor | None

    @classmethod
    def empty(
        cls,
        pages: int,
        kv_heads: int,
        head_dim: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.int8,
    ) -> KvCache:
        """Room for that many pages; its content is undefined. dtype: one of CACHE_TYPES."""

        def scales() -> torch.Tensor | None:
            if dtype != torch.int8:
                return None
            return torch.empty((pages, kv_heads, PAGE), dtype=torch.float32, device=device)

        return cls(
            torch.empty((pages, kv_heads, PAGE, head_dim), dtype=dtype, device=device),
            scales(),
            torch.empty((pages, kv_heads, head_dim, PAGE), dtype=dtype, device=device),
            scales(),
        )

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return sum(part.nbytes for part in self if part is not None)


def expect_cache(cache: KvCache, block_tables: torch.Tensor, beside: torch.Tensor) -> tuple[int, int]:
    """Key-value heads and head size. Raises KernelTypeError, KernelShapeError."""
    expect("keys", cache.keys, CACHE_TYPES, (None, None, PAGE, None), beside)
    pages, kv_heads, _, head_dim = cache.keys.shape
    if head_dim not in HEAD_DIMS:
        raise KernelShapeError(f"keys: expected a head size that 32 divides, up to 256, found {head_dim}")
    if kv_heads == 0:
        raise KernelShapeError("keys: expected at least one key-value head, found none")
    expect("values", cache.values, (cache.keys.dtype,), (pages, kv_heads, head_dim, PAGE), beside)
    for name, scales in (("key_scales", cache.key_scales), ("value_scales", cache.value_scales)):
        if (scales is not None) != (cache.keys.dtype == torch.int8):
            wanted = "none" if scales is not None else "a tensor"
            raise KernelTypeError(f"{name}: expected {wanted} for a cache of {cache.keys.dtype}")
        if scales is not None:
            expect(name, scales, (torch.float32,), (pages, kv_heads, PAGE), beside)
    expect("block_tables", block_tables, (torch.int32,), (None, None), beside)
    return kv_heads, head_dim
