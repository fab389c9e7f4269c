"""Qwen3.5, 3.6 and 3.8: gated delta nets (Yang et al. 2024), with attention in every fourth layer; dense, or experts of
which one is shared. The text model: vision and the head for drafts are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qwen3edge.architectures.architecture import (
    MINUS_EXP,
    ONE_PLUS,
    Architecture,
    Change,
    Heads,
    ModelTensor,
    matrix,
    vector,
)
from qwen3edge.architectures.keys import integer, rotated_part
from qwen3edge.architectures.qwen3 import dense, experts
from qwen3edge.errors import CheckpointError, UnsupportedModelError

_INTERVAL = 4  # of layers with attention, where config.json does not say it
_ROTATED = 0.25  # of a head, likewise
_OTHER_PARTS = ("model.visual.", "mtp.")
_TEXT = "model.language_model."


def _norm(name: str, source: str, size: int, gguf: str = "") -> ModelTensor:
    """A checkpoint has the difference from 1."""
    return replace(vector(name, source, size), change=Change(values=ONE_PLUS), gguf=gguf)


def _attention(c: Any) -> list[ModelTensor]:
    """Each head's query is followed by its gate."""
    sizes = (("q", 2 * c.query_size), ("k", c.kv_size), ("v", c.kv_size))
    return [
        *(matrix(f"attn_{x}.weight", f"self_attn.{x}_proj.weight", size, c.hidden_size) for x, size in sizes),
        *(_norm(f"attn_{x}_norm.weight", f"self_attn.{x}_norm.weight", c.head_size) for x in "qk"),
        matrix("attn_output.weight", "self_attn.o_proj.weight", c.hidden_size, c.query_size),
    ]


def _delta_net(c: Any) -> list[ModelTensor]:
    """Value head j goes with key head j % key_heads here and in GGUF, with j // each in a checkpoint."""
    heads, each = c.delta_value_heads, c.delta_value_heads // c.delta_key_heads
    keys, values = c.delta_key_heads * c.delta_head_size, heads * c.delta_head_size

    def tiled(first: int, size: int) -> Heads | None:
        return Heads(first, c.delta_key_heads, each, size) if each > 1 else None

    of_heads = tiled(0, c.delta_head_size)
    behind_keys = tiled(2 * keys, c.delta_head_size)
    scalars = tiled(0, 1)
    channels = 2 * keys + values
    found = [
        (matrix("attn_qkv.weight", "in_proj_qkv.weight", channels, c.hidden_size), Change(rows=behind_keys)),
        (matrix("attn_gate.weight", "in_proj_z.weight", values, c.hidden_size), Change(rows=of_heads)),
        # What decides how long a state remembers is small, and too sensitive to be rounded.
        (matrix("ssm_alpha.weight", "in_proj_a.weight", heads, c.hidden_size, "f32"), Change(rows=scalars)),
        (matrix("ssm_beta.weight", "in_proj_b.weight", heads, c.hidden_size, "f32"), Change(rows=scalars)),
        (
            vector("ssm_conv1d.weight", "conv1d.weight", c.conv_taps * channels),
            Change(shape=(channels, 1, c.conv_taps), rows=behind_keys, transposed=True),
        ),
        (vector("ssm_a", "A_log", heads), Change(values=MINUS_EXP, rows=scalars)),
        (vector("ssm_dt.bias", "dt_bias", heads), Change(rows=scalars)),
        (vector("ssm_norm.weight", "norm.weight", c.delta_head_size), None),
        (matrix("ssm_out.weight", "out_proj.weight", c.hidden_size, values), Change(columns=of_heads)),
    ]
    return [
        replace(tensor, source=f"linear_attn.{tensor.source}", change=None if change == Change() else change)
        for tensor, change in found
    ]


def _mixer(c: Any, layer: int) -> list[ModelTensor]:
    """A layer up to its feed-forward network's norm."""
    has_attention = (layer + 1) % c.attention_interval == 0
    return [
        _norm("attn_norm.weight", "input_layernorm.weight", c.hidden_size),
        *(_attention(c) if has_attention else _delta_net(c)),
        _norm("ffn_norm.weight", "post_attention_layernorm.weight", c.hidden_size, "post_attention_norm.weight"),
    ]


def _dense_layer(c: Any, layer: int) -> list[ModelTensor]:
    return [*_mixer(c, layer), *dense(c)]


def _experts_layer(c: Any, layer: int) -> list[ModelTensor]:
    hidden, ffn = c.hidden_size, c.shared_ffn_size
    gate = vector("ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight", hidden)
    return [
        *_mixer(c, layer),
        *experts(c),
        replace(gate, change=Change(shape=(1, hidden))),
        matrix("ffn_gate_shexp.weight", "mlp.shared_expert.gate_proj.weight", ffn, hidden),
        matrix("ffn_up_shexp.weight", "mlp.shared_expert.up_proj.weight", ffn, hidden),
        matrix("ffn_down_shexp.weight", "mlp.shared_expert.down_proj.weight", hidden, ffn),
    ]


def _read(config: Mapping[str, Any]) -> Mapping[str, Any]:
    if config.get("attention_bias"):
        raise UnsupportedModelError("attention_bias: expected false for Qwen3.5, found true")
    sizes = [integer(config, f"linear_{side}_head_dim") for side in ("key", "value")]
    if sizes[0] != sizes[1]:
        raise UnsupportedModelError(f"linear_value_head_dim: expected {sizes[0]}, as of keys, found {sizes[1]}")
    head, part = integer(config, "head_dim"), rotated_part(config, _ROTATED)
    interval = _attention_interval(config)
    return {**config, "rotary_dim": int(head * part), "full_attention_interval": interval}


def _read_moe(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Its router always divides by the sum."""
    return {**_read(config), "norm_topk_prob": True}


def _attention_interval(config: Mapping[str, Any]) -> int:
    """layer_types say which layers have attention: every Nth. Raises UnsupportedModelError, CheckpointError."""
    layers, types = integer(config, "num_hidden_layers"), config.get("layer_types")
    given = config.get("full_attention_interval")
    interval = _INTERVAL if given is None else integer(config, "full_attention_interval")
    if types is None:
        return interval
    if not isinstance(types, list) or len(types) != layers:
        raise CheckpointError(f"layer_types: expected one for each of {layers} layers, found {types!r:.80}")
    if given is None and "full_attention" in types:
        interval = types.index("full_attention") + 1
    expected = ["linear_attention" if (n + 1) % interval else "full_attention" for n in range(layers)]
    if interval < 1 or types != expected:
        raise UnsupportedModelError(
            f"layer_types: expected 'full_attention' in every {interval}th layer and 'linear_attention' in the others, "
            f"found {types!r:.80}"
        )
    return interval


def _source_name(name: str) -> str | None:
    if name.startswith(_OTHER_PARTS):
        return None
    return f"model.{name.removeprefix(_TEXT)}" if name.startswith(_TEXT) else name


def _gguf_keys(c: Any) -> Mapping[str, Any]:
    """The sections say which of time, height and width turns a pair; of text all three are alike."""
    pairs = c.rotary_size // 2
    third = (pairs + 2) // 3
    sections = (third, third, pairs - 2 * third, 0)
    return {"ssm.inner_size": c.delta_value_heads * c.delta_head_size, "rope.dimension_sections": sections}


def _hf_keys(c: Any) -> Mapping[str, Any]:
    """Of the text model alone, in the words of transformers."""
    (model_type, hf_class), *_ = c.architecture.other_types.items()
    has_attention = [(n + 1) % c.attention_interval == 0 for n in range(c.layers)]
    rope = {"rope_type": "default", **(c.rope_scaling.to_hf() if c.rope_scaling else {})}
    return {
        "model_type": model_type,
        "architectures": [hf_class],
        "linear_value_head_dim": c.delta_head_size,
        "layer_types": ["full_attention" if each else "linear_attention" for each in has_attention],
        "rope_parameters": {
            **rope,
            "rope_theta": c.rope_theta,
            "partial_rotary_factor": c.rotary_size / c.head_size,
        },
    }


QWEN3_5 = Architecture(
    "qwen3_5",
    "Qwen3_5ForConditionalGeneration",
    "qwen35",
    frozenset({"gated_attention", "delta_net", "dense"}),
    _dense_layer,
    {"qk_norm": True, "qkv_bias": False},
    _read,
    other_types={"qwen3_5_text": "Qwen3_5ForCausalLM"},
    source_name=_source_name,
    norms=Change(values=ONE_PLUS),
    gguf_keys=_gguf_keys,
    hf_keys=_hf_keys,
)
QWEN3_5_MOE = replace(
    QWEN3_5,
    model_type="qwen3_5_moe",
    hf_class="Qwen3_5MoeForConditionalGeneration",
    gguf_name="qwen35moe",
    blocks=frozenset({"gated_attention", "delta_net", "shared_experts"}),
    layer=_experts_layer,
    read=_read_moe,
    gguf_constants={"norm_topk_prob": True},
    other_types={"qwen3_5_moe_text": "Qwen3_5MoeForCausalLM"},
)
ARCHITECTURES = (QWEN3_5, QWEN3_5_MOE)
