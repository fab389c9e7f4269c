"""The feed-forward part of a dense layer: a gated linear unit with SiLU (Shazeer 2020)."""

from __future__ import annotations

import torch

from qwen3edge.config import ModelConfig
from qwen3edge.kernels.kv_cache import KvCache
from qwen3edge.runtime.torch_backend.block import Block, Steps
from qwen3edge.runtime.torch_backend.weights import WeightReader


class Dense(Block):
    """x += down(silu(gate(n)) * up(n)) with n = norm(x)"""

    def __init__(self, config: ModelConfig, weights: WeightReader, prefix: str) -> None:
        """gate_up: 2 * ffn_size outputs of hidden_size, 16 of the gate and 16 of up in turn, or the two apart."""
        self.norm = weights.vector(prefix + "ffn_norm.weight")
        self.gate_up = weights.gate_up(prefix + "ffn_gate.weight", prefix + "ffn_up.weight")
        self.down = weights.matrix(prefix + "ffn_down.weight")

    @staticmethod
    def scratch_bytes(config: ModelConfig, itemsize: int) -> int:
        """What becomes of gate and up, and both, where they have two formats."""
        return 3 * config.ffn_size * itemsize

    def step(self, steps: Steps, x: torch.Tensor, delta: torch.Tensor | None, state: KvCache | None) -> torch.Tensor:
        n = steps.norm(x, self.norm, delta)
        return steps.project(steps.gate(n, self.gate_up), self.down)
