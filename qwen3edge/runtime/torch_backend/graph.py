"""The graph of a model on our kernels: a loop over its list of blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from qwen3edge.config import ModelConfig
from qwen3edge.kernels.embedding import embedding
from qwen3edge.kernels.quantized_matmul import quantized_matmul
from qwen3edge.runtime.torch_backend.block import Step, Steps, block_class
from qwen3edge.runtime.torch_backend.weights import WeightReader


class Graph:
    """Tokens in, logits out; the states are written on the way."""

    def __init__(
        self,
        config: ModelConfig,
        blocks: Sequence[tuple[str, int]],
        weights: WeightReader,
        pages: int,
        kv: str,
        int8: bool = False,
    ) -> None:
        """blocks: the kind and the layer of each (`ModelFile.blocks`). pages: of the KV cache, kv what it holds. int8:
        dense products round their activations to int8, as the CPU's do, for the int8 matrix instructions.
        """
        device = weights.device
        self.config, self.dtype, self.int8 = config, device.dtype, int8
        self.states = [block_class(kind).new_state(config, pages, kv, device.place) for kind, _ in blocks]
        self.embedding = weights.matrix("token_embd.weight")  # [vocab_size, hidden_size]
        self.blocks = [block_class(kind)(config, weights, f"blk.{layer}.") for kind, layer in blocks]
        self.norm = weights.vector("output_norm.weight")
        self.head = self.embedding if config.tied_embeddings else weights.matrix("output.weight")
        self.frequencies = weights.vector("rope.inverse_frequencies")  # [head_size / 2]: RoPE's angle per position
        self.attention_factor = config.rope_scaling.attention_factor if config.rope_scaling else 1.0

    def forward(self, step: Step, block_tables: torch.Tensor) -> torch.Tensor:
        """The normed states that logits come from, [logits, hidden_size] of the working type."""
        x = embedding(step.tokens, self.embedding)  # [tokens, hidden_size] float32
        angles = step.positions.float()[:, None] * self.frequencies[None, :]
        cos_sin = torch.cat([angles.cos(), angles.sin()], dim=-1) * self.attention_factor  # [tokens, head_size]
        steps = Steps(step, block_tables, cos_sin, self.config.rms_epsilon, self.dtype, self.int8)
        delta = None
        for block, state in zip(self.blocks, self.states, strict=True):
            delta = block.step(steps, x, delta, state)
        h = steps.norm(x, self.norm, delta)
        return h if step.wanted is None else h.index_select(0, step.wanted)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """[rows, hidden_size] to float32 [rows, vocab_size]."""
        return quantized_matmul(states, self.head, wide=True, int8=self.int8)
