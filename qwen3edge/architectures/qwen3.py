"""Qwen2, Qwen3 (Yang et al. 2024, 2025) and Qwen3-MoE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qwen3edge.architectures.architecture import Architecture, ModelTensor, matrix, vector
from qwen3edge.architectures.keys import integer, refuse_partial_rope, refuse_windows
from qwen3edge.errors import CheckpointError, UnsupportedModelError

_SMALL = 2048  # of the hidden size: a Qwen2.5 of 1.5B has 1536, the next one, of 3B, this


def _attention(c: Any) -> list[ModelTensor]:
    sizes = (("q", c.query_size), ("k", c.kv_size), ("v", c.kv_size))
    norms = "qk" if c.qk_norm else ""
    return [
        vector("attn_norm.weight", "input_layernorm.weight", c.hidden_size),
        *(matrix(f"attn_{x}.weight", f"self_attn.{x}_proj.weight", size, c.hidden_size) for x, size in sizes),
        *(vector(f"attn_{x}.bias", f"self_attn.{x}_proj.bias", size) for x, size in sizes if c.qkv_bias),
        *(vector(f"attn_{x}_norm.weight", f"self_attn.{x}_norm.weight", c.head_size) for x in norms),
        matrix("attn_output.weight", "self_attn.o_proj.weight", c.hidden_size, c.query_size),
        vector("ffn_norm.weight", "post_attention_layernorm.weight", c.hidden_size),
    ]


def dense(c: Any) -> list[ModelTensor]:
    """A feed-forward network without its norm."""
    return [
        matrix("ffn_gate.weight", "mlp.gate_proj.weight", c.ffn_size, c.hidden_size),
        matrix("ffn_up.weight", "mlp.up_proj.weight", c.ffn_size, c.hidden_size),
        matrix("ffn_down.weight", "mlp.down_proj.weight", c.hidden_size, c.ffn_size),
    ]


def experts(c: Any) -> list[ModelTensor]:
    """All experts of a layer in one, as convert/experts.py shows them, with their router, without their norm."""
    count, hidden, ffn = c.experts, c.hidden_size, c.expert_ffn_size
    gate_up = matrix("ffn_gate_up_exps.weight", "mlp.experts.gate_up", count * 2 * ffn, hidden)
    down = matrix("ffn_down_exps.weight", "mlp.experts.down", count * hidden, ffn)
    router = matrix("ffn_gate_inp.weight", "mlp.gate.weight", count, hidden, "f32")
    return [router, *(replace(tensor, holds_experts=True) for tensor in (gate_up, down))]


def _dense_layer(c: Any, layer: int) -> list[ModelTensor]:
    return [*_attention(c), *dense(c)]


def _experts_layer(c: Any, layer: int) -> list[ModelTensor]:
    return [*_attention(c), *experts(c)]


def _read_qwen2(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Its own config leaves out head_dim."""
    refuse_partial_rope(config)
    refuse_windows(config)
    if config.get("head_dim") is not None:
        return config
    heads, hidden = integer(config, "num_attention_heads"), integer(config, "hidden_size")
    if not heads or hidden % heads:
        raise CheckpointError(f"hidden_size: expected a multiple of {heads} heads, found {hidden}")
    return {**config, "head_dim": hidden // heads}


def _read_qwen3(config: Mapping[str, Any]) -> Mapping[str, Any]:
    refuse_windows(config)
    return _without_bias(config)


def _read_qwen3_moe(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """transformers' mixtures have sliding windows in every layer; its version 5 writes num_local_experts."""
    refuse_windows(config, in_every_layer=True)
    if config.get("decoder_sparse_step", 1) != 1:
        found = config["decoder_sparse_step"]
        raise UnsupportedModelError(f"decoder_sparse_step: expected 1 (experts in every layer), found {found!r}")
    if config.get("mlp_only_layers"):
        found = config["mlp_only_layers"]
        raise UnsupportedModelError(f"mlp_only_layers: expected none (experts in every layer), found {found!r}")
    return _without_bias({"num_experts": config.get("num_local_experts"), **config})


def _without_bias(config: Mapping[str, Any]) -> Mapping[str, Any]:
    refuse_partial_rope(config)
    if config.get("attention_bias"):
        raise UnsupportedModelError(f"attention_bias: expected false for {config['model_type']}, found true")
    return config


QWEN3 = Architecture(
    "qwen3",
    "Qwen3ForCausalLM",
    "qwen3",
    frozenset({"attention", "dense"}),
    _dense_layer,
    {"qk_norm": True, "qkv_bias": False},
    _read_qwen3,
    {"attention_bias": False},
)
QWEN2 = replace(
    QWEN3,
    model_type="qwen2",
    hf_class="Qwen2ForCausalLM",
    gguf_name="qwen2",
    constants={"qk_norm": False, "qkv_bias": True},
    read=_read_qwen2,
    written={},
    thinks=False,
    # Of Qwen2.5's instruction models: up to 1.5B, and of the larger ones.
    direct_sampling=lambda hidden_size: {"repetition_penalty": 1.1 if hidden_size < _SMALL else 1.05},
)
QWEN3_MOE = replace(
    QWEN3,
    model_type="qwen3_moe",
    hf_class="Qwen3MoeForCausalLM",
    gguf_name="qwen3moe",
    blocks=frozenset({"attention", "experts"}),
    layer=_experts_layer,
    read=_read_qwen3_moe,
    written={"attention_bias": False, "decoder_sparse_step": 1, "mlp_only_layers": []},
    gguf_constants={"norm_topk_prob": True},  # as llama.cpp does, whatever the keys say
)
ARCHITECTURES = (QWEN3, QWEN2, QWEN3_MOE)
