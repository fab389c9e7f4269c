"""A checkpoint of a few kilobytes, written without transformers."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from qwen3edge.config import ModelConfig
from qwen3edge.convert.experts import checkpoint_shapes
from tests.formats.safetensors_bytes import encode

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "vocab_size": 50,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "eos_token_id": 3,
}
QWEN2: dict[str, Any] = {
    **CONFIG,
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "tie_word_embeddings": False,
}
MOE: dict[str, Any] = {
    **CONFIG,
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "num_experts": 5,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 96,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}


def random_tensors(config: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    """All tensors by their names in the checkpoint, float32."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.standard_normal(shape) * 0.05 + (len(shape) == 1)).astype(np.float32)
        for name, shape in checkpoint_shapes(ModelConfig.from_hf(config)).items()
    }


def write(folder: Path, config: dict[str, Any], tensors: dict[str, np.ndarray]) -> Path:
    """The folder, without a tokenizer."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(encode(tensors))
    return folder
