"""Random hybrids made by transformers, and their `.q3e` files: what the engine's tests of Qwen3.5 compare."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from transformers import (
    Qwen3_5ForCausalLM,
    Qwen3_5MoeForCausalLM,
    Qwen3_5MoeTextConfig,
    Qwen3_5TextConfig,
)

from tests.reference.hybrid_blocks import AttentionShape, DeltaShape, Hybrid


@dataclass(frozen=True)
class HybridShape:
    """A configuration small enough to run in milliseconds."""

    name: str
    hidden: int = 128
    layers: int = 5
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    rotated: float = 0.25  # of a head
    key_heads: int = 2
    value_heads: int = 4
    delta_size: int = 64  # of a head
    ffn: int = 352  # of experts, too
    vocab: int = 515
    tied: bool = True
    interval: int = 4
    experts: int = 0
    top: int = 2
    shared_ffn: int = 96
    theta: float = 1e4
    gain: float = 1.0  # of a matrix, for inputs of variance 1


# As many value heads as key heads, two and three times as many; layers that are no multiple of the interval.
DENSE = [
    HybridShape("nv=nk", value_heads=2, layers=6, tied=False),
    HybridShape("nv=2nk", hidden=288, ffn=320),
    HybridShape("nv=3nk", key_heads=3, value_heads=9, layers=4, interval=2, vocab=1000),
    HybridShape("head-256", heads=2, kv_heads=1, head_dim=256, delta_size=128, hidden=256, layers=7, interval=3),
]

MOE = [
    HybridShape("moe8-top2", ffn=96, experts=8),
    HybridShape("moe20-top3", ffn=64, experts=20, top=3, value_heads=2, hidden=288, layers=3, interval=2, tied=False),
    HybridShape("moe64-top8", ffn=32, experts=64, top=8, shared_ffn=160, layers=4),
]


def reference_of(model: torch.nn.Module, shape: HybridShape, dtype: type = np.float64) -> Hybrid:
    """The same in NumPy, by default in float64."""
    return Hybrid(
        {name: tensor.numpy().astype(dtype) for name, tensor in model.state_dict().items()},
        shape.layers,
        shape.interval,
        DeltaShape(shape.key_heads, shape.value_heads, shape.delta_size),
        AttentionShape(
            shape.heads, shape.kv_heads, shape.head_dim, int(shape.head_dim * shape.rotated), theta=shape.theta
        ),
        shape.top if shape.experts else 0,
    )


def make_hybrid(shape: HybridShape, seed: int) -> torch.nn.Module:
    """Weights large enough that all parts matter, states that forget within some ten to some thousand tokens."""
    torch.manual_seed(seed)
    common = {
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": 16384,
        "tie_word_embeddings": shape.tied,
        "attn_implementation": "eager",
        "linear_num_key_heads": shape.key_heads,
        "linear_num_value_heads": shape.value_heads,
        "linear_key_head_dim": shape.delta_size,
        "linear_value_head_dim": shape.delta_size,
        "full_attention_interval": shape.interval,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": shape.theta,
            "partial_rotary_factor": shape.rotated,
        },
        "eos_token_id": 1,
    }
    if shape.experts:
        mixture = {
            "num_experts": shape.experts,
            "num_experts_per_tok": shape.top,
            "moe_intermediate_size": shape.ffn,
            "shared_expert_intermediate_size": shape.shared_ffn,
        }
        model = Qwen3_5MoeForCausalLM(Qwen3_5MoeTextConfig(**common, **mixture))
    else:
        model = Qwen3_5ForCausalLM(Qwen3_5TextConfig(intermediate_size=shape.ffn, **common))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("A_log"):
                parameter.uniform_(-5, 1)
            elif name.endswith("linear_attn.norm.weight"):
                parameter.normal_(1, 0.2)
            elif parameter.dim() == 1:  # norms, too, have their difference from 1
                parameter.normal_(0, 0.2)
            elif name.endswith("conv1d.weight"):  # SiLU of much leaves keys and queries that are not at right angles
                parameter.normal_(0, 2)
            else:
                parameter.normal_(0, shape.gain / parameter.shape[-1] ** 0.5)
    return model.eval().float()
