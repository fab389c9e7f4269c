"""Qwen3 in float32 on the dequantized weights of a `.q3e` file, as the paper reads: no kernels of ours.

With kv="int8" keys and values are rounded as such a cache keeps them (one scale a position and head), for that is a
property of the model that runs, like the format of its weights, and not of the kernels.
"""

import torch

from qwen3edge import _core
from qwen3edge.config import ModelConfig


class ReferenceGraph:
    """All weights in float32: for tiny models."""

    def __init__(self, path, kv: str = "f32") -> None:
        self.kv = kv
        self.file = _core.ModelFile(str(path))
        self.config = ModelConfig.from_metadata(self.file)

    def weight(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.file.dequantize(name))

    def vector(self, name: str) -> torch.Tensor:
        return self.weight(name).flatten()

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.config.rms_epsilon) * self.vector(name)

    def logits(self, tokens: list[int], chosen: list[torch.Tensor] | None = None) -> torch.Tensor:
        """[tokens, vocabulary] of one sequence from its beginning. chosen: the experts of each layer, [tokens, top_k].

        Afterwards `scores` holds those of each layer's router, [tokens, experts].
        """
        self.scores: list[torch.Tensor] = []
        embedding = self.weight("token_embd.weight")
        x = embedding[tokens]
        for layer in range(self.config.layers):
            prefix = f"blk.{layer}."
            x = x + self.attention(self.norm(x, prefix + "attn_norm.weight"), prefix)
            h = self.norm(x, prefix + "ffn_norm.weight")
            x = x + (
                self.experts(h, prefix, chosen[layer] if chosen else None)
                if self.config.experts
                else self.dense(h, prefix)
            )
        head = embedding if self.config.tied_embeddings else self.weight("output.weight")
        return self.norm(x, "output_norm.weight") @ head.T

    def attention(self, h: torch.Tensor, prefix: str) -> torch.Tensor:
        config = self.config
        q, k, v = (h @ self.weight(f"{prefix}attn_{part}.weight").T for part in "qkv")
        if config.qkv_bias:
            q, k, v = (x + self.vector(f"{prefix}attn_{n}.bias") for x, n in zip((q, k, v), "qkv", strict=True))
        q, k, v = (x.unflatten(-1, (-1, config.head_size)).transpose(0, 1) for x in (q, k, v))  # [heads, tokens, size]
        if config.qk_norm:
            q, k = self.norm(q, prefix + "attn_q_norm.weight"), self.norm(k, prefix + "attn_k_norm.weight")
        q, k = self.rotated(q), self.rotated(k)
        if self.kv == "int8":
            k, v = as_int8(k), as_int8(v)
        k, v = (x.repeat_interleave(config.heads // config.kv_heads, dim=0) for x in (k, v))
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return mixed.transpose(0, 1).flatten(1) @ self.weight(prefix + "attn_output.weight").T

    def rotated(self, x: torch.Tensor) -> torch.Tensor:
        angles = torch.outer(torch.arange(x.shape[1]).float(), self.vector("rope.inverse_frequencies"))
        factor = self.config.rope_scaling.attention_factor if self.config.rope_scaling else 1.0
        cos, sin = angles.cos() * factor, angles.sin() * factor
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)

    def dense(self, h: torch.Tensor, prefix: str) -> torch.Tensor:
        gate, up = (h @ self.weight(f"{prefix}ffn_{part}.weight").T for part in ("gate", "up"))
        return (torch.nn.functional.silu(gate) * up) @ self.weight(prefix + "ffn_down.weight").T

    def experts(self, h: torch.Tensor, prefix: str, chosen: torch.Tensor | None) -> torch.Tensor:
        config = self.config
        scores = (h @ self.weight(prefix + "ffn_gate_inp.weight").T).softmax(-1)
        self.scores.append(scores)
        ids = scores.topk(config.experts_per_token, dim=-1).indices if chosen is None else chosen
        weights = scores.gather(1, ids)
        if config.norm_topk_prob:
            weights = weights / weights.sum(-1, keepdim=True)
        gate_up = self.weight(prefix + "ffn_gate_up_exps.weight").unflatten(0, (config.experts, -1, 2, 16))
        down = self.weight(prefix + "ffn_down_exps.weight").unflatten(0, (config.experts, -1))
        out = torch.zeros_like(h)
        for token, (of, to) in enumerate(zip(weights, ids, strict=True)):
            for weight, expert in zip(of, to, strict=True):
                both = torch.einsum("pjrk,k->jpr", gate_up[expert], h[token]).flatten(1)
                out[token] += weight * (down[expert] @ (torch.nn.functional.silu(both[0]) * both[1]))
        return out


def as_int8(x: torch.Tensor) -> torch.Tensor:
    scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-30) / 127
    return (x / scale).round() * scale


def mean_kl(expected: torch.Tensor, found: torch.Tensor) -> float:
    """Of the rows of logits, in nats."""
    p, q = (x.double().log_softmax(-1) for x in (torch.as_tensor(expected), torch.as_tensor(found)))
    return (p.exp() * (p - q)).sum(-1).mean().item()
