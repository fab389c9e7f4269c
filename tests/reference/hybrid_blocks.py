"""Qwen3.5 in NumPy, token after token: a gated delta net, gated attention with partial RoPE, experts; and all together.

Weights by their names and in their order in Hugging Face's checkpoints, of the precision that is wanted: float32 is
what defines a state, float64 is what drift is measured against.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
TAPS = 4  # of the convolution


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def silu(x: Array) -> Array:
    return x * sigmoid(x)


def rms_norm(x: Array, weight: Array, epsilon: float) -> Array:
    """Over the last axis; `weight` is the whole factor."""
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + x.dtype.type(epsilon)) * weight


@dataclass(frozen=True)
class DeltaShape:
    key_heads: int
    value_heads: int
    size: int  # of a head
    epsilon: float = 1e-6


@dataclass
class DeltaState:
    """What a sequence keeps. memory: [value_heads, size of a key, size of a value]; inputs: the last three."""

    memory: Array | None = None
    inputs: list[Array] = field(default_factory=list)


def delta_net(x: Array, w: Mapping[str, Array], shape: DeltaShape, state: DeltaState) -> Array:
    """x: normalized, [tokens, hidden]. Returns what is added to the residual stream; the state goes on."""
    key_width, value_width = shape.key_heads * shape.size, shape.value_heads * shape.size
    channels = 2 * key_width + value_width
    if state.memory is None:
        state.memory = np.zeros((shape.value_heads, shape.size, shape.size), x.dtype)
        state.inputs = [np.zeros(channels, x.dtype)] * (TAPS - 1)
    taps = w["conv1d.weight"].reshape(channels, TAPS)
    rows = []
    for token in x:
        mixed = w["in_proj_qkv.weight"] @ token
        window = np.stack([*state.inputs, mixed], axis=1)
        state.inputs = [*state.inputs[1:], mixed]
        q, k, v = np.split(silu((window * taps).sum(1)), [key_width, 2 * key_width])
        each = shape.value_heads // shape.key_heads
        q, k = (np.repeat(unit(part.reshape(-1, shape.size)), each, axis=0) for part in (q, k))
        q = q / x.dtype.type(np.sqrt(shape.size))
        v = v.reshape(-1, shape.size)
        write = sigmoid(w["in_proj_b.weight"] @ token)
        decay = np.exp(-np.exp(w["A_log"]) * np.logaddexp(0, w["in_proj_a.weight"] @ token + w["dt_bias"]))
        memory = state.memory * decay[:, None, None]
        change = write[:, None] * (v - np.einsum("hkv,hk->hv", memory, k))
        state.memory = memory + k[:, :, None] * change[:, None, :]
        out = np.einsum("hkv,hk->hv", state.memory, q)
        gate = (w["in_proj_z.weight"] @ token).reshape(out.shape)
        rows.append(w["out_proj.weight"] @ (rms_norm(out, w["norm.weight"], shape.epsilon) * silu(gate)).reshape(-1))
    return np.stack(rows)


def unit(x: Array) -> Array:
    """Of length 1 over the last axis."""
    return x / np.sqrt((x * x).sum(-1, keepdims=True) + x.dtype.type(1e-6))


@dataclass(frozen=True)
class AttentionShape:
    heads: int
    kv_heads: int
    size: int  # of a head
    rotated: int  # of its values, from the first on
    theta: float = 1e7
    epsilon: float = 1e-6


def rotate(x: Array, shape: AttentionShape) -> Array:
    """x: [tokens, heads, size] at positions from 0 on."""
    half = shape.rotated // 2
    angle = np.arange(len(x))[:, None] * shape.theta ** -(np.arange(half) / half)
    cos, sin = (f(angle).astype(x.dtype)[:, None] for f in (np.cos, np.sin))
    a, b = x[..., :half], x[..., half : shape.rotated]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, x[..., shape.rotated :]], axis=-1)


def gated_attention(x: Array, w: Mapping[str, Array], shape: AttentionShape) -> Array:
    """x: normalized, [tokens, hidden]. The weights of the norms are added to 1, as the checkpoint has them."""
    tokens = len(x)
    q, gate = np.split((x @ w["q_proj.weight"].T).reshape(tokens, shape.heads, 2 * shape.size), 2, axis=-1)
    k, v = ((x @ w[f"{name}_proj.weight"].T).reshape(tokens, shape.kv_heads, shape.size) for name in "kv")
    q, k = (
        rotate(rms_norm(part, 1 + w[f"{name}_norm.weight"], shape.epsilon), shape)
        for name, part in (("q", q), ("k", k))
    )
    k, v = (np.repeat(part, shape.heads // shape.kv_heads, axis=1) for part in (k, v))
    scores = np.einsum("thd,shd->hts", q, k) / x.dtype.type(np.sqrt(shape.size))
    scores = np.where(np.tri(tokens, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    out = np.einsum("hts,shd->thd", weights, v) * sigmoid(gate)
    return out.reshape(tokens, -1) @ w["o_proj.weight"].T


def feed_forward(x: Array, w: Mapping[str, Array]) -> Array:
    """x: normalized, [tokens, hidden]."""
    gate, up, down = (w[f"{name}_proj.weight"].T for name in ("gate", "up", "down"))
    return (silu(x @ gate) * (x @ up)) @ down


def shared_experts(x: Array, w: Mapping[str, Array], top: int) -> Array:
    """x: normalized, [tokens, hidden]; weights of experts in one tensor. The shared one's part is in it."""
    scores = x @ w["gate.weight"].T
    shares = np.exp(scores - scores.max(1, keepdims=True))
    chosen = np.argsort(-shares, axis=1, kind="stable")[:, :top]
    shares = np.take_along_axis(shares, chosen, axis=1)
    shares /= shares.sum(1, keepdims=True)
    out = sigmoid(x @ w["shared_expert_gate.weight"].T) * feed_forward(x, _under(w, "shared_expert."))
    for expert in np.unique(chosen):
        token, rank = np.nonzero(chosen == expert)
        gate, up = np.split(x[token] @ w["experts.gate_up_proj"][expert].T, 2, axis=1)
        out[token] += shares[token, rank, None] * ((silu(gate) * up) @ w["experts.down_proj"][expert].T)
    return out


@dataclass(frozen=True)
class Hybrid:
    """A whole model. weights: by their names in a checkpoint."""

    weights: Mapping[str, Array]
    layers: int
    interval: int  # of layers with attention
    delta: DeltaShape
    attention: AttentionShape
    top: int = 0  # experts of a token; 0: dense

    def nearby(self, rng: np.random.Generator) -> Hybrid:
        """With every weight off by up to half a step of float32."""
        weights = {name: w * (1 + 2.0**-24 * rng.uniform(-1, 1, w.shape)) for name, w in self.weights.items()}
        return replace(self, weights=weights)

    def hidden(self, tokens: NDArray[np.integer[Any]]) -> Array:
        """The state after the final norm, [tokens, hidden]."""
        x = self.weights["model.embed_tokens.weight"][tokens]
        for n in range(self.layers):
            prefix = f"model.layers.{n}."
            part = {name.removeprefix(prefix): w for name, w in self.weights.items() if name.startswith(prefix)}
            normed = rms_norm(x, 1 + part["input_layernorm.weight"], self.delta.epsilon)
            if (n + 1) % self.interval:
                x = x + delta_net(normed, _under(part, "linear_attn."), self.delta, DeltaState())
            else:
                x = x + gated_attention(normed, _under(part, "self_attn."), self.attention)
            normed = rms_norm(x, 1 + part["post_attention_layernorm.weight"], self.delta.epsilon)
            mlp = _under(part, "mlp.")
            x = x + (shared_experts(normed, mlp, self.top) if self.top else feed_forward(normed, mlp))
        return rms_norm(x, 1 + self.weights["model.norm.weight"], self.delta.epsilon)

    def logits(self, hidden: Array) -> Array:
        """[.., vocabulary]"""
        head = self.weights.get("lm_head.weight", self.weights["model.embed_tokens.weight"])
        return hidden @ head.T


def _under(weights: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
