"""GGUF files of random blocks, and transformers' model with the weights that the gguf package reads from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import (
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from tests.formats.random_blocks import random_raw, wide

CLASSES = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "qwen3moe": (Qwen3MoeConfig, Qwen3MoeForCausalLM),
}
VOCAB = 515
GAIN = 1.0
"""Of a matrix, for inputs of variance 1: logits are of some units, as a trained model's are."""
ROUTER_GAIN = 2.0
"""Trained routers are sharper: the last of a token's experts has some hundredths of the weight, and where roundings
decide between it and the next one, little depends on it."""


@dataclass(frozen=True)
class Case:
    """Small enough for milliseconds, wide enough for blocks of 256."""

    architecture: str
    tied: bool = True
    hidden: int = 256
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    ffn: int = 512  # of an expert: 256
    experts: int = 16
    top: int = 8

    @property
    def moe(self) -> bool:
        return self.architecture == "qwen3moe"


def build_model(case: Case) -> PreTrainedModel:
    """With whatever weights."""
    config, model = CLASSES[case.architecture]
    common = {
        "vocab_size": VOCAB,
        "hidden_size": case.hidden,
        "intermediate_size": case.ffn,
        "num_hidden_layers": case.layers,
        "num_attention_heads": case.heads,
        "num_key_value_heads": case.kv_heads,
        "max_position_embeddings": 512,
        "rope_theta": 1e4,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": case.tied,
        "attn_implementation": "eager",
    }
    if case.architecture != "qwen2":
        common["head_dim"] = case.head_dim
    if case.moe:
        common |= {"num_experts": case.experts, "num_experts_per_tok": case.top, "moe_intermediate_size": 256}
        common |= {"norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []}
    return model(config(**common)).eval().float()


def gguf_name(name: str) -> Iterator[tuple[str, Callable[[torch.Tensor], torch.Tensor]]]:
    """The file's names of a parameter of transformers, and what part of it each is."""
    whole = lambda tensor: tensor  # noqa: E731
    if name.endswith("mlp.experts.gate_up_proj"):
        layer = name.split(".")[2]
        yield f"blk.{layer}.ffn_gate_exps.weight", lambda tensor: tensor[:, : tensor.shape[1] // 2]
        yield f"blk.{layer}.ffn_up_exps.weight", lambda tensor: tensor[:, tensor.shape[1] // 2 :]
        return
    if name.endswith("mlp.experts.down_proj"):
        yield f"blk.{name.split('.')[2]}.ffn_down_exps.weight", whole
        return
    for old, new in (
        ("model.embed_tokens", "token_embd"),
        ("model.layers", "blk"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("self_attn.o_proj", "attn_output"),
        *((f"self_attn.{letter}_proj", f"attn_{letter}") for letter in "qkv"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        *((f"mlp.{part}_proj", f"ffn_{part}") for part in ("gate", "up", "down")),
        ("mlp.gate", "ffn_gate_inp"),
    ):
        name = name.replace(old, new)
    yield name, whole


def write_gguf(
    path: Path, case: Case, seed: int, choose: Callable[[str], str], *, split: int = 0, metadata: bool = True
) -> PreTrainedModel:
    """choose: the type of a matrix by its name. split: tensors a shard. Returns the model with the file's weights."""
    rng = np.random.default_rng(seed)
    model = build_model(case)
    arch = case.architecture
    writer = gguf.GGUFWriter(path, arch, split_max_tensors=split)
    writer.add_block_count(case.layers)
    writer.add_context_length(512)
    writer.add_embedding_length(case.hidden)
    writer.add_feed_forward_length(case.ffn)
    writer.add_head_count(case.heads)
    writer.add_head_count_kv(case.kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e4)
    if arch != "qwen2":
        writer.add_key_length(case.head_dim)
        writer.add_value_length(case.head_dim)
    if case.moe:
        writer.add_expert_count(case.experts)
        writer.add_expert_used_count(case.top)
        writer.add_expert_feed_forward_length(256)
    if metadata:
        add_tokenizer(writer)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            for name, part in gguf_name(parameter_name):
                view = part(parameter)
                raw, kind = _random(name, tuple(view.shape), rng, choose)
                writer.add_tensor(name, raw, raw_dtype=kind)
                values = (raw if raw.dtype != np.uint8 else wide(kind.name, raw)).astype(np.float32).reshape(view.shape)
                view.copy_(torch.from_numpy(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def add_tokenizer(writer: gguf.GGUFWriter) -> None:
    """The bytes, and Qwen's own tokens; the rest of the rows is padding."""
    # GPT-2's alphabet: printable bytes are themselves, the others follow from 256 on
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    tokens = [alphabet[byte] for byte in range(256)] + ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>"]
    types = [1] * 256 + [3, 3, 3, 4]
    tokens += [f"[PAD{token}]" for token in range(len(tokens), VOCAB)]
    types += [5] * (VOCAB - len(types))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_eos_token_id(258)
    writer.add_pad_token_id(256)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}<think>")


def _random(
    name: str, shape: tuple[int, ...], rng: np.random.Generator, choose: Callable[[str], str]
) -> tuple[np.ndarray, gguf.GGMLQuantizationType]:
    if name.endswith(".bias"):
        return (rng.standard_normal(shape) * 0.2).astype(np.float32), gguf.GGMLQuantizationType.F32
    if len(shape) == 1:
        return (1 + 0.2 * rng.standard_normal(shape)).astype(np.float32), gguf.GGMLQuantizationType.F32
    kind = "F32" if "ffn_gate_inp" in name else choose(name)
    gain = ROUTER_GAIN if "ffn_gate_inp" in name else GAIN
    raw = random_raw(kind, rng, int(np.prod(shape[:-1])), shape[-1], gain / shape[-1] ** 0.5)
    return raw.reshape(*shape[:-1], -1), gguf.GGMLQuantizationType[kind]
