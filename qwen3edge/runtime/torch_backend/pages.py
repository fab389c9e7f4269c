"""Which pages of the KV cache belong to whom, and how much of them is written."""

from __future__ import annotations

import torch

from qwen3edge.errors import RequestError
from qwen3edge.kernels.kv_cache import PAGE

KV_TYPES = {"int8": torch.int8, "f16": torch.float16, "bf16": torch.bfloat16}


def pages_for(context: int) -> int:
    """Pages that hold so many positions."""
    pages: int = -(-context // PAGE)
    return pages


class Pages:
    """Pages of fixed owners: the plan promises every sequence its whole context, so dealing them would gain nothing."""

    def __init__(self, sequences: int, context: int, device: torch.device) -> None:
        self.context = context
        # [sequences, each] int32
        self.block_tables = torch.arange(sequences * pages_for(context), dtype=torch.int32, device=device).view(
            sequences, -1
        )
        self._lengths = [0] * sequences

    @property
    def sequences(self) -> int:
        """How many there are."""
        return len(self._lengths)

    def length(self, sequence: int) -> int:
        """Positions that are written. Raises RequestError for a sequence out of range."""
        if not 0 <= sequence < len(self._lengths):
            raise RequestError(f"sequence: expected 0 to {len(self._lengths) - 1}, found {sequence}")
        return self._lengths[sequence]

    def truncate(self, sequence: int, length: int) -> None:
        """Forgets what lies after; raises RequestError where there is less."""
        most = self.length(sequence)
        if not 0 <= length <= most:
            raise RequestError(f"length: expected 0 to the {most} tokens in the cache, found {length}")
        self._lengths[sequence] = length

    def extend(self, sequence: int, length: int) -> None:
        """Notes what a step has written."""
        self._lengths[sequence] = length
