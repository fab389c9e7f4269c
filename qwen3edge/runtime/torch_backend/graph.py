"""The Qwen3 graph, dense or with experts, on our kernels."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from qwen3edge.config import ModelConfig
from qwen3edge.kernels.attention import attention
from qwen3edge.kernels.embedding import embedding
from qwen3edge.kernels.kv_cache import KvCache
from qwen3edge.kernels.moe_combine import moe_combine
from qwen3edge.kernels.moe_matmul import moe_feed_forward
from qwen3edge.kernels.moe_router import moe_router
from qwen3edge.kernels.packing import DeviceMatrix
from qwen3edge.kernels.quantized_matmul import quantized_matmul
from qwen3edge.kernels.rmsnorm import rmsnorm
from qwen3edge.kernels.rope_cache import rope_cache
from qwen3edge.kernels.silu_mul import silu_mul
from qwen3edge.runtime.torch_backend.weights import Attention, DenseFeedForward, Experts, Weights


@dataclass(frozen=True)
class Step:
    """One ragged batch on the device, its tokens run by run; a run is consecutive positions of one slot."""

    tokens: torch.Tensor  # [tokens] int32
    positions: torch.Tensor  # [tokens] int32
    slots: torch.Tensor  # [tokens] int32; -1: padding
    rows: torch.Tensor  # [1] int32: tokens that are no padding; they come first
    run_slots: torch.Tensor  # [runs] int32
    run_starts: torch.Tensor  # [runs + 1] int32, into tokens; a run without tokens is padding
    run_lengths: torch.Tensor  # [runs] int32: positions in the cache once the step is done
    wanted: torch.Tensor | None  # [logits] int32: whose logits are asked for, None for all
    longest_run: int  # bounds of what the device alone knows
    longest_context: int


class Graph:
    """Tokens in, logits out; the caches are written on the way."""

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        caches: list[KvCache],
        dtype: torch.dtype,
        int8: bool = False,
    ) -> None:
        """caches: one a layer. dtype: of activations between kernels. int8: dense products round theirs to int8, as the
        CPU's do, for the int8 matrix instructions.
        """
        self.config = config
        self.weights = weights
        self.caches = caches
        self.dtype = dtype
        self.int8 = int8

    def forward(self, step: Step, block_tables: torch.Tensor) -> torch.Tensor:
        """The normed states that logits come from, [logits, hidden_size] of the working type."""
        config, weights = self.config, self.weights
        epsilon = config.rms_epsilon
        x = embedding(step.tokens, weights.embedding)  # [tokens, hidden_size] float32
        angles = step.positions.float()[:, None] * weights.frequencies[None, :]
        cos_sin = torch.cat([angles.cos(), angles.sin()], dim=-1)  # [tokens, head_size]
        delta = None  # what the sublayer before adds to x
        for layer, cache in zip(weights.layers, self.caches, strict=True):
            h = rmsnorm(x, layer.attention_norm, epsilon, self.dtype, delta)
            delta = self._attention(layer.attention, h, cos_sin, step, block_tables, cache)
            if isinstance(layer.feed_forward, DenseFeedForward):
                h = rmsnorm(x, layer.feed_forward_norm, epsilon, self.dtype, delta)
                delta = self._dense(layer.feed_forward, h)
            else:
                # The router's own: rounded to the working type, near ties would be decided by chance.
                wide = rmsnorm(x, layer.feed_forward_norm, epsilon, torch.float32, delta)
                delta = self._experts(layer.feed_forward, wide, step.rows)
        h = rmsnorm(x, weights.norm, epsilon, self.dtype, delta)
        return h if step.wanted is None else h.index_select(0, step.wanted)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """[rows, hidden_size] to float32 [rows, vocab_size]."""
        return quantized_matmul(states, self.weights.head, wide=True, int8=self.int8)

    def _attention(
        self,
        layer: Attention,
        h: torch.Tensor,
        cos_sin: torch.Tensor,
        step: Step,
        block_tables: torch.Tensor,
        cache: KvCache,
    ) -> torch.Tensor:
        qkv = self._side_by_side(h, layer.qkv)
        queries = rope_cache(
            qkv, layer.bias, layer.query_norm, layer.key_norm, self.config.rms_epsilon,
            cos_sin, step.positions, step.slots, block_tables, cache,
        )  # fmt: skip
        mixed = attention(
            queries, cache, block_tables, step.run_slots, step.run_starts, step.run_lengths,
            step.longest_run, step.longest_context,
        )  # fmt: skip
        return quantized_matmul(mixed.flatten(1), layer.output, wide=True, int8=self.int8)

    def _dense(self, layer: DenseFeedForward, h: torch.Tensor) -> torch.Tensor:
        hidden = silu_mul(self._side_by_side(h, layer.gate_up))
        return quantized_matmul(hidden, layer.down, wide=True, int8=self.int8)

    def _experts(self, layer: Experts, h: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """h: float32."""
        scores = torch.nn.functional.linear(h, layer.router)  # [tokens, experts]
        weights, ids = moe_router(scores, layer.top_k, layer.renormalize, rows)
        parts = moe_feed_forward(h.to(self.dtype), ids, weights, layer.gate_up, layer.down)
        return moe_combine(parts, ids, torch.float32)

    def _side_by_side(self, x: torch.Tensor, matrices: tuple[DeviceMatrix, ...]) -> torch.Tensor:
        """The products of x with each, in one row."""
        products = [quantized_matmul(x, matrix, int8=self.int8) for matrix in matrices]
        return products[0] if len(products) == 1 else torch.cat(products, dim=1)
