"""The matrices of Qwen3's sizes: [rows = outputs, columns = inputs]."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """One model of the family; the head dimension is 128 in all of them."""

    hidden: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocabulary: int = 151936
    head_dim: int = 128

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Rows and columns by name; k and v have one shape, gate and up as well."""
        return {
            "q": (self.heads * self.head_dim, self.hidden),
            "k, v": (self.kv_heads * self.head_dim, self.hidden),
            "output": (self.hidden, self.heads * self.head_dim),
            "gate, up": (self.feed_forward, self.hidden),
            "down": (self.hidden, self.feed_forward),
            "head": (self.vocabulary, self.hidden),
        }


SIZES = {
    "0.6B": Size(hidden=1024, heads=16, kv_heads=8, feed_forward=3072),
    "1.7B": Size(hidden=2048, heads=16, kv_heads=8, feed_forward=6144),
    "4B": Size(hidden=2560, heads=32, kv_heads=8, feed_forward=9728),
    "8B": Size(hidden=4096, heads=32, kv_heads=8, feed_forward=12288),
}
