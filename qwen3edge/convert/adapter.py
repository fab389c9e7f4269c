"""What an adapter does to a checkpoint's tensors, whoever saved it: added products, whole tensors, single rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from qwen3edge.config import ModelConfig
from qwen3edge.convert.names import HEAD_SOURCE, embedding_source, is_bare
from qwen3edge.convert.source import TensorSource
from qwen3edge.errors import CheckpointError
from qwen3edge.formats.blocks import as_float32
from qwen3edge.formats.safetensors import SafetensorsFolder

_CACHED = 8  # matrices that are read whole, some megabytes each


@dataclass(frozen=True)
class Update:
    """scale * B A, added to some rows of a tensor."""

    a: Callable[[], NDArray[np.float32]]  # -> [rank, columns]
    b: Callable[[int, int], NDArray[np.float32]]  # rows [start, stop) of the update -> [.., rank]
    scale: float
    first_row: int  # in the tensor
    rows: int


@dataclass
class Changes:
    """By the checkpoint's name of the tensor. Whole tensors and rows come first, updates are added to them."""

    updates: dict[str, list[Update]] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)  # the adapter's tensor, of the same shape
    rows: dict[str, tuple[list[int], str]] = field(default_factory=dict)  # these rows are those of the adapter's tensor
    unties: bool = False  # the head is no longer the embedding

    def names(self) -> list[str]:
        """The tensors that are no longer the checkpoint's."""
        return list(dict.fromkeys((*self.updates, *self.whole, *self.rows)))


class AdapterFiles:
    """The adapter's tensors, and the names and shapes of the checkpoint that they are for."""

    def __init__(self, files: SafetensorsFolder, source: TensorSource, config: ModelConfig):
        """Raises CheckpointError for an adapter that changes nothing."""
        self.files = files
        self.where = str(files.folder)
        self.config = config
        self.found = frozenset(source.names())
        self.embedding = embedding_source(self.found)
        self._source = source
        self._bare = is_bare(self.found)
        self.read_whole = lru_cache(_CACHED)(self._read_whole)
        if not files.names():
            raise CheckpointError(f"{self.where}: expected updates, found none")

    def module(self, name: str) -> str:
        """A module's name with or without `model.`, as the checkpoint has it."""
        core = name.removeprefix("model.")
        return core if self._bare or core == "lm_head" else f"model.{core}"

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor of the checkpoint; of the head also where it is tied."""
        tied = self.config.tied_embeddings and name == HEAD_SOURCE
        return self._source.shape(self.embedding if tied else name)

    def has(self, name: str) -> bool:
        """Whether the checkpoint has it, or ties it."""
        return name in self.found or (self.config.tied_embeddings and name == HEAD_SOURCE)

    def require_whole(self, name: str, stored: str) -> None:
        """Raises CheckpointError unless the adapter's tensor `stored` can stand for the checkpoint's `name`."""
        if not self.has(name):
            raise CheckpointError(f"{self.where}: expected tensors of the checkpoint, found {stored!r}")
        if self.files.shape(stored) != self.shape(name):
            raise CheckpointError(
                f"{self.where}: {stored!r}: expected the checkpoint's shape {list(self.shape(name))}, "
                f"found {list(self.files.shape(stored))}; an adapter that resizes the vocabulary has to be merged by "
                "the program that made it"
            )

    def product(
        self,
        module: str,
        a: str,
        b: str,
        shape: tuple[int, ...],
        scale: Callable[[int], float],
        *,
        first_row: int = 0,
        transposed: bool = False,
    ) -> Update:
        """A [rank, columns] and B [rows, rank], or both transposed. Raises CheckpointError for others.

        shape: [rows, columns] of what they are for. scale: by the rank.
        """
        found_a, found_b = (self.files.shape(name)[:: -1 if transposed else 1] for name in (a, b))
        both = len(found_a) == len(found_b) == 2 and found_a[0] == found_b[1] > 0
        if not both or (found_b[0], found_a[1]) != shape:
            raise CheckpointError(
                f"{self.where}: {module!r}: expected B [{shape[0]}, rank] and A [rank, {shape[-1]}], "
                f"found {list(found_b)} and {list(found_a)}"
            )
        rank = found_a[0]

        def whole_a() -> NDArray[np.float32]:
            return np.ascontiguousarray(self.read_whole(a).T)

        def rows_of_b(start: int, stop: int) -> NDArray[np.float32]:
            rows: NDArray[np.float32] = self.read_whole(b)[:, start:stop].T
            return rows

        if transposed:
            return Update(whole_a, rows_of_b, scale(rank), first_row, shape[0])
        return Update(partial(self.read_whole, a), partial(self.read_rows, b), scale(rank), first_row, shape[0])

    def read_rows(self, name: str, start: int, stop: int) -> NDArray[np.float32]:
        """Rows of a tensor of the adapter."""
        return as_float32(self.files.read_rows(name, start, stop))

    def _read_whole(self, name: str) -> NDArray[np.float32]:
        return as_float32(self.files.read_whole(name))
