"""Whole models in the interpreter, quickly: its cost is by program and operation and hardly by value.

The kernels are those of a GPU, with tiles that no GPU could hold.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

from triton.runtime import interpreter

from qwen3edge.kernels import configuration

_UNUSED = {"num_warps": 4, "num_stages": 1}
_PRODUCTS = [
    *({"max_rows": rows, "BLOCK_M": rows, "BLOCK_N": 512, "SWAPPED": 1, **_UNUSED} for rows in (32, 64, 128, 256, 512)),
    {"BLOCK_M": 1024, "BLOCK_N": 512, "SWAPPED": 1, **_UNUSED},
]
TILES = {
    "attention_prefill": [{"ROWS": 128, "BLOCK": 64, **_UNUSED}],
    "embedding": [{"TILES": 1024}],
    "matmul_a16": _PRODUCTS,
    "matmul_a8": _PRODUCTS,
    "moe_few": [{"BLOCK_M": 16, "BLOCK_N": 256, **_UNUSED}],
    "moe_grouped": [{"BLOCK_M": 64, "BLOCK_N": 256, **_UNUSED}],
    "rope_cache": [{"HEADS": 1024, "TOKENS": 256}],
}


@contextmanager
def large_tiles() -> Iterator[None]:
    """While it lasts; overflow of integers, which the kernels' own tests watch, is not watched either."""
    read, builder = configuration._read, interpreter.interpreter_builder
    watching = builder.options
    builder.options = replace(watching, sanitize_overflow=False)
    with (
        mock.patch.object(configuration, "_target", lambda kind, index: "interpreter"),
        mock.patch.object(configuration, "_read", lambda name: TILES if name == "interpreter" else read(name)),
    ):
        yield
    builder.options = watching
