"""What the graph is made of: an ordered list of blocks, each x += f(norm(x)), as in csrc/models/block.h."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import cast

import torch

from qwen3edge.config import ModelConfig
from qwen3edge.errors import UnsupportedModelError
from qwen3edge.kernels.kv_cache import KvCache
from qwen3edge.kernels.packing import DeviceMatrix
from qwen3edge.kernels.quantized_matmul import gated_product, product_parts, quantized_matmul
from qwen3edge.kernels.rmsnorm import rmsnorm
from qwen3edge.kernels.silu_mul import silu_mul
from qwen3edge.runtime.torch_backend.weights import WeightReader


@dataclass(frozen=True)
class Step:
    """One ragged batch on the device, its tokens run by run; a run is consecutive positions of one sequence."""

    tokens: torch.Tensor  # [tokens] int32
    positions: torch.Tensor  # [tokens] int32
    sequences: torch.Tensor  # [tokens] int32; -1: padding
    rows: torch.Tensor  # [1] int32: tokens that are no padding; they come first
    run_sequences: torch.Tensor  # [runs] int32
    run_starts: torch.Tensor  # [runs + 1] int32, into tokens; a run without tokens is padding
    run_lengths: torch.Tensor  # [runs] int32: positions in the cache once the step is done
    wanted: torch.Tensor | None  # [logits] int32: whose logits are asked for, None for all
    longest_run: int  # bounds of what the device alone knows
    longest_context: int


@dataclass
class Steps:
    """What a block's step is made of, for one batch."""

    batch: Step
    block_tables: torch.Tensor  # [sequences, pages] int32
    cos_sin: torch.Tensor  # [positions, head_size] float32
    counters: torch.Tensor  # [runs * kv_heads at least] int32, zeros between launches
    epsilon: float
    dtype: torch.dtype  # of activations between kernels
    int8: bool

    def norm(
        self, x: torch.Tensor, weight: torch.Tensor, delta: torch.Tensor | None, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """Adds delta, what the block before gave, maybe in parts, to x, then norms its rows."""
        return rmsnorm(x, weight, self.epsilon, dtype or self.dtype, delta)

    def project(self, x: torch.Tensor, *matrices: DeviceMatrix) -> torch.Tensor:
        """The products of x with each, in one row: float32 [parts, tokens, outputs], which who reads them adds up."""
        return product_parts(x, matrices, int8=self.int8)

    def gate(self, x: torch.Tensor, matrices: Sequence[DeviceMatrix]) -> torch.Tensor:
        """silu(gate) * up of x, with what `WeightReader.gate_up` gave."""
        if len(matrices) == 1:
            return gated_product(x, matrices[0], int8=self.int8)
        return silu_mul(torch.cat([quantized_matmul(x, matrix, int8=self.int8) for matrix in matrices], dim=1))


class Block(ABC):
    """A block of one layer with its tensors."""

    floats: tuple[str, ...] = ()  # ends of the names of its matrices that stay float32

    @abstractmethod
    def __init__(self, config: ModelConfig, weights: WeightReader, prefix: str) -> None:
        """prefix: of its tensors' names."""

    @staticmethod
    @abstractmethod
    def scratch_bytes(config: ModelConfig, itemsize: int) -> int:
        """What a step takes for a token besides the stream. itemsize: of activations between kernels."""

    @staticmethod
    def split_bytes(config: ModelConfig, context: int) -> int:
        """And for a sequence."""
        return 0

    @staticmethod
    def new_state(config: ModelConfig, pages: int, kv: str, device: torch.device) -> KvCache | None:
        """For so many pages; kv: one of KV_TYPES."""
        return None

    @abstractmethod
    def step(self, steps: Steps, x: torch.Tensor, delta: torch.Tensor | None, state: KvCache | None) -> torch.Tensor:
        """What it adds to x, float32 [tokens, hidden_size], once its norm has added delta, of the block before; in
        parts where it has a dimension more.
        """


def block_class(kind: str) -> type[Block]:
    """Of "attention" the class `Attention` of blocks/attention.py. Raises UnsupportedModelError."""
    name = f"qwen3edge.runtime.torch_backend.blocks.{kind}"
    if find_spec(name) is None:
        raise UnsupportedModelError(f"device: expected cpu for a model with blocks of the kind {kind!r}, found a GPU")
    module = import_module(name)
    return cast(type[Block], getattr(module, kind.title().replace("_", "")))
