"""The paged int8 cache of one layer on the device: its layout, and the check that every launcher makes.

    keys          [pages, kv_heads, 64, head_dim] int8      a position's key lies together
    key_scales    [pages, kv_heads, 64]           float32   one a position and head
    values        [pages, kv_heads, head_dim, 64] int8      transposed: what is summed over are positions
    value_scales  [pages, kv_heads, 64]           float32
    block_tables  [slots, max_pages]              int32     the page of positions 64 i .. 64 i + 63 of a sequence

Value = int8 * scale. Nothing of a page is read past a sequence's length, so pages need not be cleared.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from qwen3edge.kernels.arguments import expect
from qwen3edge.kernels.errors import KernelShapeError

PAGE = 64  # positions; a page and head of 128 dimensions is 8 KiB of keys, and as much of values
HEAD_DIMS = range(32, 257, 32)  # qwen3edge.config


class KvCache(NamedTuple):
    """One layer's cache; the fields are the arguments of the ops, in order."""

    keys: torch.Tensor
    key_scales: torch.Tensor
    values: torch.Tensor
    value_scales: torch.Tensor

    @classmethod
    def empty(cls, pages: int, kv_heads: int, head_dim: int, device: torch.device | str = "cpu") -> KvCache:
        """Room for that many pages; its content is undefined."""
        return cls(
            torch.empty((pages, kv_heads, PAGE, head_dim), dtype=torch.int8, device=device),
            torch.empty((pages, kv_heads, PAGE), dtype=torch.float32, device=device),
            torch.empty((pages, kv_heads, head_dim, PAGE), dtype=torch.int8, device=device),
            torch.empty((pages, kv_heads, PAGE), dtype=torch.float32, device=device),
        )


def expect_cache(cache: KvCache, block_tables: torch.Tensor, beside: torch.Tensor) -> tuple[int, int]:
    """Key-value heads and head size. Raises KernelTypeError, KernelShapeError."""
    expect("keys", cache.keys, (torch.int8,), (None, None, PAGE, None), beside)
    pages, kv_heads, _, head_dim = cache.keys.shape
    if head_dim not in HEAD_DIMS:
        raise KernelShapeError(f"keys: expected a head size that 32 divides, up to 256, found {head_dim}")
    if kv_heads == 0:
        raise KernelShapeError("keys: expected at least one key-value head, found none")
    expect("key_scales", cache.key_scales, (torch.float32,), (pages, kv_heads, PAGE), beside)
    expect("values", cache.values, (torch.int8,), (pages, kv_heads, head_dim, PAGE), beside)
    expect("value_scales", cache.value_scales, (torch.float32,), (pages, kv_heads, PAGE), beside)
    expect("block_tables", block_tables, (torch.int32,), (None, None), beside)
    return kv_heads, head_dim
