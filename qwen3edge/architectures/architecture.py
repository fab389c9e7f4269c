"""What an architecture is made of, and what others call its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelTensor:
    """One tensor of the model."""

    name: str  # in the `.q3e` file and in GGUF
    source: str  # in Hugging Face's checkpoints, with the prefix `model.` where those of causal models have it
    rows: int  # outputs; 1 for a vector
    columns: int  # inputs
    is_vector: bool
    required_format: str | None = None  # of a matrix, whatever the recipe says
    holds_experts: bool = False  # one after the other; convert/experts.py finds them under the source's name
    is_head_too: bool = False  # a tied embedding

    @property
    def shape(self) -> tuple[int, ...]:
        """As the checkpoint has it."""
        return (self.columns,) if self.is_vector else (self.rows, self.columns)


def matrix(name: str, source: str, rows: int, columns: int, required_format: str | None = None) -> ModelTensor:
    """Of any block format where none is required."""
    return ModelTensor(name, source, rows, columns, False, required_format)


def vector(name: str, source: str, size: int) -> ModelTensor:
    """In float32."""
    return ModelTensor(name, source, 1, size, True)


@dataclass(frozen=True)
class Architecture:
    """One model type. Its builder in csrc/models/ lists the same kinds of blocks."""

    model_type: str  # in config.json and in a `.q3e` file
    hf_class: str  # in config.json's `architectures`
    gguf_name: str  # GGUF's `general.architecture`
    blocks: frozenset[str]  # kinds: whose numbers a config has (`ModelConfig`)
    # Of a `ModelConfig` and a layer's number its tensors, named without `blk.N.` and `model.layers.N.`.
    layer: Callable[[Any, int], list[ModelTensor]]
    constants: Mapping[str, Any]  # numbers of `ModelConfig` that no key of config.json or GGUF says
    # Refuses the options in config.json that would change the graph, and adds keys that it may lack. Raises
    # UnsupportedModelError, CheckpointError.
    read: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    written: Mapping[str, Any] = field(default_factory=dict)  # besides the numbers, in a config.json that is exported
    gguf_constants: Mapping[str, Any] = field(default_factory=dict)  # numbers that GGUF takes for granted
    thinks: bool = True  # without a chat template that says so
    # What Qwen's advice on sampling for direct answers adds, by the hidden size.
    direct_sampling: Callable[[int], Mapping[str, float]] = lambda hidden_size: {}
