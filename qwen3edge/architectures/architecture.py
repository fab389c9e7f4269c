"""What an architecture is made of, and what others call its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ONE_PLUS, MINUS_EXP = "1 + w", "-exp(w)"
"""What a file has of the values w of a checkpoint's vector."""


class Heads(NamedTuple):
    """Rows or columns of heads that a checkpoint has group after group, [groups][each], and a file, as GGUF, the other
    way round, [each][groups]: the value heads that share a key head lie apart there.
    """

    first: int  # rows in front of them, which stay
    groups: int
    each: int
    size: int  # rows of a head


@dataclass(frozen=True)
class Change:
    """How a tensor of a file differs from the checkpoint's (convert/changed_tensors.py makes it)."""

    shape: tuple[int, ...] = ()  # there, where it is another
    values: str = ""  # of a vector, where they are others
    rows: Heads | None = None  # of a vector its elements
    columns: Heads | None = None
    transposed: bool = False  # a vector holds a matrix [rows, columns] column after column; so in GGUF


@dataclass(frozen=True)
class ModelTensor:
    """One tensor of the model."""

    name: str  # in the `.q3e` file
    source: str  # in Hugging Face's checkpoints, with the prefix `model.` where those of causal models have it
    rows: int  # outputs; 1 for a vector
    columns: int  # inputs
    is_vector: bool
    required_format: str | None = None  # of a matrix, whatever the recipe says
    holds_experts: bool = False  # one after the other; convert/experts.py finds them under the source's name
    is_head_too: bool = False  # a tied embedding
    change: Change | None = None
    gguf: str = ""  # its name in GGUF, where it is another

    @property
    def shape(self) -> tuple[int, ...]:
        """As the file has it."""
        return (self.columns,) if self.is_vector else (self.rows, self.columns)

    @property
    def source_shape(self) -> tuple[int, ...]:
        """As the checkpoint has it."""
        return (self.change and self.change.shape) or self.shape

    @property
    def gguf_name(self) -> str:
        """As GGUF has it."""
        return self.gguf or self.name


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
    # Other pairs of a model type and a class in config.json: of the same text model, alone or within another one.
    other_types: Mapping[str, str] = field(default_factory=dict)
    # What `ModelTensor.source` calls a stored tensor, None for those of other parts.
    source_name: Callable[[str], str | None] = lambda name: name
    norms: Change | None = None  # how the norms of the residual stream differ from the checkpoint's
    # GGUF's keys that follow from the numbers, checked and written behind the architecture's name.
    gguf_keys: Callable[[Any], Mapping[str, Any]] = lambda config: {}
    # Keys of a config.json that is exported which follow from the numbers; they count before all others.
    hf_keys: Callable[[Any], Mapping[str, Any]] = lambda config: {}
    # What Qwen's advice on sampling for direct answers adds, by the hidden size.
    direct_sampling: Callable[[int], Mapping[str, float]] = lambda hidden_size: {}
