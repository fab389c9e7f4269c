"""The paged KV cache of all layers and sequences, and which pages belong to whom."""

from __future__ import annotations

import torch

from qwen3edge.config import ModelConfig
from qwen3edge.errors import RequestError
from qwen3edge.kernels.kv_cache import PAGE, KvCache

KV_TYPES = {"int8": torch.int8, "f16": torch.float16, "bf16": torch.bfloat16}
_SCALE_BYTES = 4  # float32, one a position and head, for keys and for values: int8 alone has them


def pages_for(context: int) -> int:
    """Pages that hold so many positions."""
    pages: int = -(-context // PAGE)
    return pages


def page_bytes(config: ModelConfig, kv: str) -> int:
    """Bytes of a page in all layers."""
    entry = config.head_size + _SCALE_BYTES if kv == "int8" else 2 * config.head_size
    size: int = config.layers * config.kv_heads * PAGE * 2 * entry
    return size


class Pages:
    """Pages of fixed owners: the plan promises every sequence its whole context, so dealing them would gain nothing."""

    def __init__(self, config: ModelConfig, sequences: int, context: int, kv: str, device: torch.device) -> None:
        """kv: one of KV_TYPES."""
        each = pages_for(context)
        self.context = context
        self.layers = [
            KvCache.empty(sequences * each, config.kv_heads, config.head_size, device, KV_TYPES[kv])
            for _ in range(config.layers)
        ]
        # [sequences, each] int32
        self.block_tables = torch.arange(sequences * each, dtype=torch.int32, device=device).view(sequences, each)
        self._lengths = [0] * sequences

    @property
    def sequences(self) -> int:
        """How many there are."""
        return len(self._lengths)

    def length(self, slot: int) -> int:
        """Positions that are written. Raises RequestError for a slot out of range."""
        self._check(slot)
        return self._lengths[slot]

    def truncate(self, slot: int, length: int) -> None:
        """Forgets what lies after; raises RequestError where there is less."""
        if not 0 <= length <= self.length(slot):
            raise RequestError(f"length: expected 0 to the {self._lengths[slot]} tokens in the cache, found {length}")
        self._lengths[slot] = length

    def extend(self, slot: int, length: int) -> None:
        """Notes what a step has written."""
        self._lengths[slot] = length

    def _check(self, slot: int) -> None:
        if not 0 <= slot < len(self._lengths):
            raise RequestError(f"slot: expected 0 to {len(self._lengths) - 1}, found {slot}")
