"""The matrices of Qwen3's sizes: [rows = outputs, columns = inputs]."""

from __future__ import annotations

from qwen3edge.config import ModelConfig
from scripts.make_random import SHAPES

SIZES = {name: ModelConfig.from_hf(SHAPES[name]) for name in ("0.6B", "1.7B", "4B", "8B")}

HYBRIDS = {name: ModelConfig.from_hf(SHAPES[name]) for name in ("3.5-0.8B", "3.5-2B", "3.5-4B", "3.5-9B")}


def matrices(size: str) -> dict[str, tuple[int, int]]:
    """Rows and columns by name; k and v have one shape, gate and up as well."""
    shape = SIZES[size]
    queries, hidden = shape.heads * shape.head_size, shape.hidden_size
    return {
        "q": (queries, hidden),
        "k, v": (shape.kv_heads * shape.head_size, hidden),
        "output": (hidden, queries),
        "gate, up": (shape.ffn_size, hidden),
        "down": (hidden, shape.ffn_size),
        "head": (shape.vocab_size, hidden),
    }
