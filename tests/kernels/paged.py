"""A paged cache whose pages are dealt out of order and hold poison where nothing was written."""

import torch

from qwen3edge.kernels.kv_cache import PAGE, KvCache


def poisoned_cache(pages: int, kv_heads: int, head_dim: int, dtype: torch.dtype = torch.int8) -> KvCache:
    """Scales, or entries that have none, are NaN, so that whatever is read without having been written shows."""
    cache = KvCache.empty(pages, kv_heads, head_dim, dtype=dtype)
    scaled = dtype == torch.int8
    cache.keys.fill_(127 if scaled else float("nan"))
    cache.values.fill_(-127 if scaled else float("nan"))
    if scaled:
        cache.key_scales.fill_(float("nan"))
        cache.value_scales.fill_(float("nan"))
    return cache


def dealt_tables(sequences: int, context: int, random: torch.Generator) -> torch.Tensor:
    """[sequences, max_pages] int32: every page once, in random order."""
    pages = -(-context // PAGE)
    return torch.randperm(sequences * pages, generator=random).reshape(sequences, pages).int()
