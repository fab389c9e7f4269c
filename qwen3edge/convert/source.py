"""Where the converter's weights come from: a checkpoint's shards, or a generator of random ones."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class TensorSource(Protocol):
    """Tensors by their names in the checkpoint. `read_rows` is called from several threads."""

    def names(self) -> list[str]:
        """All tensors."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """[rows, columns], or [elements]; some checkpoints have [experts, rows, columns]."""
        ...

    def read_rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop): float32, float16, or uint16 holding bfloat16; of a vector, elements.

        The rows of three dimensions are those of all experts, one after the other: [experts * rows, columns].
        """
        ...


@runtime_checkable
class PackedSource(TensorSource, Protocol):
    """A source with matrices that some block format holds already: they are repacked, not quantized."""

    def packed_format(self, name: str) -> str | None:
        """The block format in which `read_packed` gives a matrix; None for one that it cannot give."""
        ...

    def read_packed(self, name: str, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows [start, stop) as packed panels; start is a multiple of 16, and so is stop but at the end.

        Called from several threads. Raises CheckpointError for scales that are not finite.
        """
        ...
