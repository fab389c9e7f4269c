"""Small random `.q3e` files: Qwen3, the same with YaRN, Qwen2, and one with experts."""

from pathlib import Path

import torch

from qwen3edge.architectures.rope_scaling import RopeScaling
from qwen3edge.config import ModelConfig
from qwen3edge.convert.checkpoint import write_model
from qwen3edge.convert.recipe import find_recipe
from qwen3edge.kernels.packing import DeviceMatrix
from qwen3edge.runtime.torch_backend.graph import Graph
from tests.convert.random_tensors import RandomTensors

_COMMON = {
    "vocab_size": 96,
    "context_length": 512,
    "hidden_size": 96,
    "layers": 2,
    "heads": 4,
    "kv_heads": 2,
    "head_size": 32,
    "rms_epsilon": 1e-6,
    "rope_theta": 1e4,
    "qk_norm": True,
    "qkv_bias": False,
    "tied_embeddings": True,
}
MODELS = {
    "qwen3": ModelConfig(model_type="qwen3", ffn_size=160, **_COMMON),
    "yarn": ModelConfig(
        model_type="qwen3",
        ffn_size=160,
        rope_scaling=RopeScaling.yarn(16.0, 8, beta_fast=0.5, beta_slow=0.1),
        **_COMMON,
    ),
    "qwen2": ModelConfig(
        model_type="qwen2",
        ffn_size=160,
        **{**_COMMON, "qk_norm": False, "qkv_bias": True, "tied_embeddings": False, "layers": 1},
    ),
    "qwen3_moe": ModelConfig(
        model_type="qwen3_moe",
        ffn_size=0,
        experts=12,
        experts_per_token=3,
        expert_ffn_size=32,
        norm_topk_prob=True,
        **{**_COMMON, "tied_embeddings": False},
    ),
}


def write(folder: Path, name: str, quant: str, seed: int) -> Path:
    """The file of MODELS[name]."""
    target = folder / f"{name}-{quant}.q3e"
    config = MODELS[name]
    write_model(RandomTensors(config, seed), config, {"general.name": name}, target, find_recipe(quant))
    return target


def weights_of(graph: Graph) -> list[DeviceMatrix | torch.Tensor]:
    """All that a graph holds of its file, each once; not what is computed or counted."""
    found = {}
    for owner in (graph, *graph.blocks):
        for value in vars(owner).values():
            for weight in value if isinstance(value, tuple) else (value,):
                if isinstance(weight, DeviceMatrix | torch.Tensor) and not any(
                    weight is own for own in (graph.cos_sin, graph.counters)
                ):
                    found[id(weight)] = weight
    return list(found.values())
