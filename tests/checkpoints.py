"""Random checkpoints of each family made by transformers, and their `.q3e` files: what the engine's tests compare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import (
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from qwen3edge import _core
from qwen3edge.convert import convert


@dataclass(frozen=True)
class Shape:
    """A configuration small enough to run in milliseconds."""

    name: str
    family: str = "qwen3"
    hidden: int = 128
    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    ffn: int = 352
    vocab: int = 515
    tied: bool = True
    experts: int = 0
    top: int = 0
    norm_topk: bool = True
    gain: float = 1.5  # of a matrix, for inputs of variance 1: attention is sharp, logits are of some units
    router_gain: float | None = None  # the same by default


# Odd layer counts, tied and untied, 1, 2, 4 and 8 query heads a KV head, widths that fill no block, both families.
SHAPES = [
    Shape("gqa1", heads=2, kv_heads=2, layers=1),
    Shape("gqa2", hidden=288, ffn=320, layers=5, tied=False),
    Shape("gqa4", heads=8, kv_heads=2, head_dim=32, layers=3, vocab=1000),
    Shape("gqa8", heads=8, kv_heads=1, head_dim=128, hidden=256, tied=False),
    Shape("qwen2", family="qwen2", hidden=128, heads=2, kv_heads=1, head_dim=64),
    Shape("qwen2-untied", family="qwen2", hidden=448, heads=14, kv_heads=2, head_dim=32, layers=1, tied=False),
]

# 8 to 128 experts, 1 to 8 of them a token, weights renormalized and not; ffn is an expert's.
MOE_SHAPES = [
    Shape("moe8-top1", family="qwen3_moe", ffn=96, experts=8, top=1, norm_topk=False),
    Shape("moe8-top2", family="qwen3_moe", ffn=288, experts=8, top=2, tied=False),
    Shape("moe20-top3", family="qwen3_moe", hidden=288, ffn=64, layers=2, experts=20, top=3, norm_topk=False),
    Shape("moe128-top8", family="qwen3_moe", ffn=32, layers=2, experts=128, top=8),
    Shape("moe60-top8", family="qwen3_moe", ffn=64, layers=2, experts=60, top=8, norm_topk=False, tied=False),
]


def make_model(shape: Shape, seed: int) -> torch.nn.Module:
    """A model whose weights are large enough for sharp attention and logits of some units."""
    torch.manual_seed(seed)
    common = {
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": 1024,
        "rope_theta": 1e4,
        "tie_word_embeddings": shape.tied,
        "attn_implementation": "eager",
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": None,
    }
    if shape.family == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(head_dim=shape.head_dim, **common))
    elif shape.family == "qwen3_moe":
        mixture = {
            "num_experts": shape.experts,
            "num_experts_per_tok": shape.top,
            "moe_intermediate_size": shape.ffn,
            "norm_topk_prob": shape.norm_topk,
        }
        model = Qwen3MoeForCausalLM(Qwen3MoeConfig(head_dim=shape.head_dim, **common, **mixture))
    else:
        assert shape.heads * shape.head_dim == shape.hidden, "qwen2 has no head_dim of its own"
        model = Qwen2ForCausalLM(Qwen2Config(**common))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
            elif parameter.dim() == 1:
                parameter.normal_(0, 0.3)
            else:
                router = shape.router_gain is not None and name.endswith("mlp.gate.weight")
                gain = shape.router_gain if router else shape.gain
                parameter.normal_(0, gain / parameter.shape[-1] ** 0.5)
    return model.eval().float()


def save(model: torch.nn.Module, folder: Path) -> Path:
    """As a Hugging Face folder."""
    model.save_pretrained(folder, safe_serialization=True)
    return folder


def to_q3e(folder: Path, quant: str) -> Path:
    """The folder's `.q3e` file, without a tokenizer."""
    target = folder / f"{quant}.q3e"
    if not target.exists():
        convert(folder, target, quant, allow_missing_tokenizer=True)
    return target


def run(engine: _core.Engine, tokens: np.ndarray, *, slot: int = 0, start: int = 0) -> np.ndarray:
    """All logits of a prompt: float32 [tokens, vocabulary]."""
    n = len(tokens)
    return engine.forward(tokens, np.arange(start, start + n), np.full(n, slot), np.ones(n, bool))
