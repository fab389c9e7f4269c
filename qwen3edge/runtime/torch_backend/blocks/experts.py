"""The feed-forward part of a layer with experts (Shazeer et al. 2017, Qwen3's renormalized top-k)."""

from __future__ import annotations

import torch

from qwen3edge.config import ModelConfig
from qwen3edge.kernels.kv_cache import KvCache
from qwen3edge.kernels.moe_combine import moe_combine
from qwen3edge.kernels.moe_matmul import moe_feed_forward
from qwen3edge.kernels.moe_router import moe_router, moe_scores
from qwen3edge.runtime.torch_backend.block import Block, Steps
from qwen3edge.runtime.torch_backend.weights import WeightReader


class Experts(Block):
    """x += sum of weight * down(silu(gate(n)) * up(n)) over each token's experts, n = norm(x)"""

    floats = ("ffn_gate_inp.weight",)

    def __init__(self, config: ModelConfig, weights: WeightReader, prefix: str) -> None:
        """gate_up, down: batches of matrices, an expert each; 16 outputs of the gate and 16 of up in turn."""
        self.norm = weights.vector(prefix + "ffn_norm.weight")
        self.router = weights.floats(prefix + "ffn_gate_inp.weight")  # [experts, hidden_size] float32
        self.gate_up = weights.matrix(prefix + "ffn_gate_up_exps.weight").split_experts(config.experts)
        self.down = weights.matrix(prefix + "ffn_down_exps.weight").split_experts(config.experts)
        self.top_k = config.experts_per_token
        self.renormalize = config.norm_topk_prob

    @staticmethod
    def scratch_bytes(config: ModelConfig, itemsize: int) -> int:
        """Of each of its experts the hidden row, the output and where they stand; the router's scores."""
        row = config.expert_ffn_size * itemsize + 4 * config.hidden_size + 24
        return config.experts_per_token * row + 4 * config.experts

    def step(self, steps: Steps, x: torch.Tensor, delta: torch.Tensor | None, state: KvCache | None) -> torch.Tensor:
        # The router's own: rounded to the working type, near ties would be decided by chance.
        n = steps.norm(x, self.norm, delta, torch.float32)
        weights, ids = moe_router(moe_scores(n, self.router), self.top_k, self.renormalize, steps.batch.rows)
        parts = moe_feed_forward(n.to(steps.dtype), ids, weights, self.gate_up, self.down)
        return moe_combine(parts, ids, torch.float32)
