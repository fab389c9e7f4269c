"""Bias, QK-norm, RoPE and the entries of the cache in plain torch, token by token."""

import torch

from qwen3edge.kernels.kv_cache import PAGE, KvCache
from qwen3edge.kernels.references.rmsnorm import quantize


def project(
    qkv: torch.Tensor,
    bias: torch.Tensor | None,
    query_weight: torch.Tensor | None,
    key_weight: torch.Tensor | None,
    epsilon: float,
    cos_sin: torch.Tensor,
    kv_heads: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries [tokens, heads, head_dim], keys and values [tokens, kv_heads, head_dim], float32."""
    head_dim = cos_sin.shape[1]
    x = qkv.float() if bias is None else qkv.float() + bias.float()
    x = x.unflatten(-1, (-1, head_dim))
    heads = x.shape[1] - 2 * kv_heads

    def rotated(part: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        if weight is not None:
            part = part * torch.rsqrt(part.square().mean(-1, keepdim=True) + epsilon)
            part = (part.to(qkv.dtype).float() * weight.float()).to(qkv.dtype).float()
        a, b = part.chunk(2, -1)
        cos, sin = cos_sin[:, None].chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    return (
        rotated(x[:, :heads], query_weight),
        rotated(x[:, heads : heads + kv_heads], key_weight),
        x[:, heads + kv_heads :],
    )


def write(
    cache: KvCache,
    keys: torch.Tensor,
    values: torch.Tensor,
    positions: torch.Tensor,
    sequences: torch.Tensor,
    block_tables: torch.Tensor,
) -> None:
    """Puts keys and values [tokens, kv_heads, head_dim] float32 into the cache; those of sequence -1 are left out."""
    head_dim, scaled = keys.shape[-1], cache.key_scales is not None
    key_quants, key_scales = quantize(keys, head_dim) if scaled else (keys, None)
    value_quants, value_scales = quantize(values, head_dim) if scaled else (values, None)
    for token, (sequence, position) in enumerate(zip(sequences.tolist(), positions.tolist(), strict=True)):
        if sequence < 0:
            continue
        page, row = int(block_tables[sequence, position // PAGE]), position % PAGE
        cache.keys[page, :, row] = key_quants[token]
        cache.values[page, :, :, row] = value_quants[token]
        if scaled:
            cache.key_scales[page, :, row] = key_scales[token, :, 0]
            cache.value_scales[page, :, row] = value_scales[token, :, 0]
