"""Softmax attention of query heads that share keys and values (GQA: Ainslie et al. 2023), with rotary positions."""

from __future__ import annotations

import torch

from qwen3edge.config import ModelConfig
from qwen3edge.kernels.attention import attention
from qwen3edge.kernels.attention_decode import FEW_ROWS, SPLIT
from qwen3edge.kernels.attention_step import attention_step
from qwen3edge.kernels.kv_cache import KvCache
from qwen3edge.kernels.rope_cache import rope_cache
from qwen3edge.runtime.torch_backend.block import Block, Steps
from qwen3edge.runtime.torch_backend.pages import KV_TYPES
from qwen3edge.runtime.torch_backend.weights import WeightReader


class Attention(Block):
    """x += o(attention(rope(norm(q(n))), rope(norm(k(n))), v(n))) with n = norm(x)"""

    def __init__(self, config: ModelConfig, weights: WeightReader, prefix: str) -> None:
        """qkv: [(heads + 2 kv_heads) * head_size] outputs of hidden_size; bias: of Qwen2; norms of heads: of Qwen3."""
        self.norm = weights.vector(prefix + "attn_norm.weight")
        self.qkv = weights.side_by_side([f"{prefix}attn_{part}.weight" for part in "qkv"])
        biases = [weights.vector(f"{prefix}attn_{part}.bias") for part in "qkv" if config.qkv_bias]
        self.bias = torch.cat(biases) if biases else None
        self.query_norm = weights.vector(prefix + "attn_q_norm.weight") if config.qk_norm else None
        self.key_norm = weights.vector(prefix + "attn_k_norm.weight") if config.qk_norm else None
        self.output = weights.matrix(prefix + "attn_output.weight")

    @staticmethod
    def scratch_bytes(config: ModelConfig, itemsize: int) -> int:
        """Queries, keys and values in float32; queries that are rotated; what they attend to."""
        return 4 * (config.query_size + 2 * config.kv_size) + 2 * config.query_size * itemsize

    @staticmethod
    def split_bytes(config: ModelConfig, context: int) -> int:
        """Partial sums and two numbers of every head, of the few queries that the decode kernel takes."""
        few = max(FEW_ROWS // (config.heads // config.kv_heads), 1)
        size: int = -(-context // SPLIT) * few * 4 * config.heads * (config.head_size + 2)
        return size

    @staticmethod
    def new_state(config: ModelConfig, pages: int, kv: str, device: torch.device) -> KvCache:
        """Keys and values."""
        return KvCache.empty(pages, config.kv_heads, config.head_size, device, KV_TYPES[kv])

    def step(self, steps: Steps, x: torch.Tensor, delta: torch.Tensor | None, state: KvCache | None) -> torch.Tensor:
        assert state is not None
        batch, tables = steps.batch, steps.block_tables
        n = steps.norm(x, self.norm, delta)
        qkv = steps.project(n, *self.qkv)
        if batch.longest_run == 1:
            attended = attention_step(
                qkv, self.bias, self.query_norm, self.key_norm, steps.epsilon, steps.cos_sin, state, tables,
                batch.run_sequences, batch.run_starts, batch.run_lengths, steps.counters, batch.longest_context,
                steps.dtype,
            )  # fmt: skip
            return steps.project(attended.flatten(1), self.output)
        queries = rope_cache(
            qkv, self.bias, self.query_norm, self.key_norm, steps.epsilon,
            steps.cos_sin, batch.positions, batch.sequences, tables, state, steps.dtype,
        )  # fmt: skip
        attended = attention(
            queries, state, tables, batch.run_sequences, batch.run_starts, batch.run_lengths,
            batch.longest_run, batch.longest_context, steps.counters,
        )  # fmt: skip
        return steps.project(attended.flatten(1), self.output)
