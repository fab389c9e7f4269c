"""The engine's forward pass put together from its kernels in Python, to see what each matrix product reads.

Every tier and chunking gives the same logits, so this is the engine itself, bit for bit; the tests assert that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert.names import EMBEDDING, FREQUENCIES, HEAD

Floats = NDArray[np.float32]
K = _core.kernels


@dataclass(frozen=True)
class Trace:
    """Of one prompt with an empty cache and kv="f32"."""

    logits: Floats  # [tokens, vocabulary]
    inputs: dict[str, Floats]  # by the matrix's name in the file: [tokens, K], before they are rounded


class _Tracer:
    """The matrices and vectors of a file, and the inputs seen so far."""

    def __init__(self, file: _core.ModelFile) -> None:
        self.file = file
        self.isa = _core.selected_isa()
        self.tensors = {tensor["name"]: tensor for tensor in file.tensors()}
        self.inputs: dict[str, Floats] = {}

    def vector(self, name: str) -> Floats:
        """[elements]."""
        return self.file.dequantize(name).reshape(-1)

    def norm(self, x: Floats, name: str, eps: float) -> Floats:
        """[tokens, hidden] -> the same."""
        return K.rmsnorm(self.isa, x, self.vector(name), eps)

    def matmul(self, name: str, x: Floats) -> Floats:
        """[tokens, K] -> [tokens, rows]."""
        self.inputs[name] = x
        tensor = self.tensors[name]
        packed = self.file.packed(name)
        return K.matmul(self.isa, tensor["format"], packed, tensor["rows"], tensor["columns"], x)


def trace(file: _core.ModelFile, tokens: NDArray[np.integer]) -> Trace:
    """Runs all tokens as one prompt."""
    config, t = ModelConfig.from_metadata(file), _Tracer(file)
    eps = config.rms_epsilon
    frequencies = t.vector(FREQUENCIES)
    x = file.dequantize(EMBEDDING)[tokens]
    for n in range(config.layers):
        layer = f"blk.{n}."
        normed = t.norm(x, f"{layer}attn_norm.weight", eps)
        qkv = np.concatenate([t.matmul(f"{layer}attn_{part}.weight", normed) for part in "qkv"], axis=1)
        norms = [t.vector(f"{layer}attn_{part}_norm.weight") if config.qk_norm else None for part in "qk"]
        bias = np.concatenate([t.vector(f"{layer}attn_{part}.bias") for part in "qkv"]) if config.qkv_bias else None
        heads = qkv.reshape(len(tokens), -1, config.head_size)
        attention = K.attention(
            t.isa, "f32", heads, config.heads, config.kv_heads, frequencies, *norms, bias, eps, 1
        ).reshape(len(tokens), -1)
        x = x + t.matmul(f"{layer}attn_output.weight", attention)
        normed = t.norm(x, f"{layer}ffn_norm.weight", eps)
        gate, up = (t.matmul(f"{layer}ffn_{part}.weight", normed) for part in ("gate", "up"))
        product = K.silu_mul(t.isa, gate.reshape(-1), up.reshape(-1)).reshape(gate.shape)
        x = x + t.matmul(f"{layer}ffn_down.weight", product)
    normed = t.norm(x, "output_norm.weight", eps)
    logits = t.matmul(EMBEDDING if config.tied_embeddings else HEAD, normed)
    return Trace(logits, t.inputs)
