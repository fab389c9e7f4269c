"""The graph of a model on our kernels: a loop over its list of blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from qwen3edge.config import ModelConfig
from qwen3edge.kernels.embedding import embedding
from qwen3edge.kernels.quantized_matmul import quantized_matmul
from qwen3edge.kernels.rope_cache import rotary_table
from qwen3edge.runtime.torch_backend.block import Step, Steps, block_class
from qwen3edge.runtime.torch_backend.plan import FREQUENCIES
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
        sequences: int,
        context: int,
        int8: bool = False,
    ) -> None:
        """blocks: the kind and the layer of each (`ModelFile.blocks`). pages: of the KV cache, kv what it holds.
        sequences, context: how many a step has at most, and positions of each. int8: dense products round their
        activations to int8, as the CPU's do, for the int8 matrix instructions.
        """
        device = weights.device
        self.config, self.dtype, self.int8 = config, device.dtype, int8
        self.states = [block_class(kind).new_state(config, pages, kv, device.place) for kind, _ in blocks]
        self.embedding = weights.matrix("token_embd.weight")  # [vocab_size, hidden_size]
        self.blocks = [block_class(kind)(config, weights, f"blk.{layer}.") for kind, layer in blocks]
        self.norm = weights.vector("output_norm.weight")
        self.head = self.embedding if config.tied_embeddings else weights.matrix("output.weight")
        frequencies = weights.vector(FREQUENCIES)  # [head_size / 2]: RoPE's angle per position
        factor = config.rope_scaling.attention_factor if config.rope_scaling else 1.0
        # A step has no more runs than the bucket of all sequences has entries.
        self.counters = torch.zeros(2 * sequences * config.kv_heads, dtype=torch.int32, device=device.place)
        self.cos_sin = rotary_table(frequencies, context, factor)

    def forward(self, step: Step, block_tables: torch.Tensor) -> torch.Tensor:
        """The normed states that logits come from, [logits, hidden_size] of the working type."""
        x = embedding(step.tokens, self.embedding)  # [tokens, hidden_size] float32
        steps = Steps(step, block_tables, self.cos_sin, self.counters, self.config.rms_epsilon, self.dtype, self.int8)
        delta = None
        for block, state in zip(self.blocks, self.states, strict=True):
            delta = block.step(steps, x, delta, state)
        h = steps.norm(x, self.norm, delta)
        return h if step.wanted is None else h.index_select(0, step.wanted)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """[rows, hidden_size] to float32 [rows, vocab_size]."""
        return quantized_matmul(states, self.head, wide=True, int8=self.int8)
