"""Where the converter's weights come from: a checkpoint's shards, or a generator of random ones."""

from __future__ import annotations

from typing import Any, Protocol

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
