"""Causal attention over the paged cache in plain torch, run by run."""

import torch

from qwen3edge.kernels.kv_cache import KvCache


def attention(
    queries: torch.Tensor,
    cache: KvCache,
    block_tables: torch.Tensor,
    sequences: torch.Tensor,
    query_starts: torch.Tensor,
    lengths: torch.Tensor,
) -> torch.Tensor:
    """Arguments as of the kernel; float32 [tokens, heads, head_dim], 0 for tokens of no run."""
    out = torch.zeros(queries.shape)
    heads, head_dim = queries.shape[1:]
    group = heads // cache.keys.shape[1]
    for run, (sequence, length) in enumerate(zip(sequences.tolist(), lengths.tolist(), strict=True)):
        start, end = query_starts[run : run + 2].tolist()
        if start == end:
            continue
        pages = block_tables[sequence, : -(-length // cache.keys.shape[2])].long()
        keys, values = cache.keys[pages].float(), cache.values[pages].transpose(2, 3).float()
        if cache.key_scales is not None and cache.value_scales is not None:
            keys, values = keys * cache.key_scales[pages][..., None], values * cache.value_scales[pages][..., None]
        keys = keys.transpose(0, 1).flatten(1, 2)
        keys = keys[:, :length].repeat_interleave(group, 0)  # [heads, length, head_dim]
        values = values.transpose(0, 1).flatten(1, 2)[:, :length].repeat_interleave(group, 0)
        scores = queries[start:end].float().transpose(0, 1) @ keys.transpose(1, 2) / head_dim**0.5
        seen = torch.arange(length)[None, :] <= torch.arange(length - (end - start), length)[:, None]
        weights = torch.softmax(scores.masked_fill(~seen, float("-inf")), -1)
        out[start:end] = (weights @ values).transpose(0, 1)
    return out
