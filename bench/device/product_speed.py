"""Products of models' matrices and attention beside torch's own in bfloat16; weights change places, so that no cache
holds them."""

from __future__ import annotations

import math

import torch

from bench.device.context import Context
from bench.device.kernels import filled_cache
from bench.device.random_weights import random_matrix
from qwen3edge.kernels.attention import attention
from qwen3edge.kernels.kv_cache import PAGE
from qwen3edge.kernels.quantized_matmul import product_parts, quantized_matmul

_ROTATED = 256 << 20  # bytes of weights, several times what caches hold
MATRICES = {
    "down of 0.6B": (1024, 3072, "q4z32"),
    "head q6z32 of 0.6B": (151936, 1024, "q6z32"),
    "gate_up q4z64 of 8B": (24576, 4096, "q4z64"),
    "gate_up q8 of 8B": (24576, 4096, "q8"),
    "output of 8B": (4096, 4096, "q4z64"),
}


def run(context: Context) -> None:
    """Each beside torch's, decode first."""
    for tokens in (1,) if context.interpreted else (1, 8, 32, 512, 2048):
        for name, (rows, columns, format) in MATRICES.items():
            if context.left() < 4 and not context.interpreted:
                return
            if name.startswith("head") and tokens > 32:
                continue
            size = (64, 256) if context.interpreted else (rows, columns)
            _product(context, name, *size, format, tokens)
    for length in (70,) if context.interpreted else (1024, 8192, 32768):
        if context.left() > 4 or context.interpreted:
            _attention(context, length)


def _product(context: Context, name: str, rows: int, columns: int, format: str, tokens: int) -> None:
    matrices = [random_matrix(format, rows, columns, context.place)]
    copies = 1 if context.interpreted else max(2, math.ceil(_ROTATED / matrices[0].nbytes))
    matrices += [random_matrix(format, rows, columns, context.place) for _ in range(copies - 1)]
    x = torch.randn(tokens, columns, device=context.place).to(context.dtype)
    wide = name.startswith("head")

    def ours() -> None:
        for matrix in matrices:
            quantized_matmul(x, matrix, wide=True) if wide else product_parts(x, [matrix])

    taken, spread = context.microseconds(ours)
    size = matrices[0].nbytes
    more = {"spread": spread / copies, "GB/s": size * copies / taken / 1e3, "us": taken / copies}
    context.result(f"{name}, {tokens} token{'s' * (tokens > 1)}", None, 2e-6 * tokens * rows * columns * copies / taken,
                   "TFLOP/s", **more)  # fmt: skip
    matrices.clear()
    copies = 1 if context.interpreted else max(2, math.ceil(_ROTATED / (2 * rows * columns)))
    dense = [torch.randn(rows, columns, device=context.place).to(context.dtype) for _ in range(copies)]
    taken, spread = context.microseconds(lambda: [torch.nn.functional.linear(x, weights) for weights in dense])
    context.result(f"{name}, {tokens} token{'s' * (tokens > 1)}, torch in 16 bits", None,
                   2e-6 * tokens * rows * columns * copies / taken, "TFLOP/s", us=taken / copies)  # fmt: skip


def _attention(context: Context, length: int) -> None:
    heads, kv_heads, dim = (2, 1, 32) if context.interpreted else (16, 8, 128)
    pages = -(-length // PAGE)
    cache = filled_cache(pages, kv_heads, dim, torch.int8, context.place)
    tables = torch.arange(pages, dtype=torch.int32, device=context.place)[None]
    counters = torch.zeros(kv_heads, dtype=torch.int32, device=context.place)
    for queries in (1,) if context.interpreted else (1, length):
        q = torch.randn(queries, heads, dim, device=context.place).to(context.dtype)
        place = [
            torch.tensor(values, dtype=torch.int32, device=context.place) for values in ([0], [0, queries], [length])
        ]

        def ours(q=q, queries=queries, place=place):
            return attention(q, cache, tables, *place, queries, length, counters)

        taken, spread = context.microseconds(ours)
        work = 4e-6 * heads * dim * (length if queries == 1 else length * (length + 1) / 2)
        what = "1 token" if queries == 1 else "a prompt"
        context.result(
            f"attention of {what} over {length}, int8", None, taken, "us", spread=spread, TFLOPs=work / taken
        )
        k, v = (torch.randn(1, kv_heads, length, dim, device=context.place).to(context.dtype) for _ in range(2))
        q4 = q.transpose(0, 1)[None]
        taken, _ = context.microseconds(
            lambda q4=q4, k=k, v=v, queries=queries: torch.nn.functional.scaled_dot_product_attention(
                q4, k, v, is_causal=queries > 1, enable_gqa=True
            )
        )
        context.result(f"attention of {what} over {length}, torch in 16 bits", None, taken, "us", TFLOPs=work / taken)
