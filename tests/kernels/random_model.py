"""Small random `.q3e` files: Qwen3, Qwen2, and one with experts."""

import zlib
from pathlib import Path

import numpy as np
import torch

from qwen3edge.config import ModelConfig
from qwen3edge.convert.checkpoint import write_model
from qwen3edge.convert.experts import checkpoint_shapes
from qwen3edge.convert.recipe import find_recipe
from qwen3edge.kernels.packing import DeviceMatrix
from qwen3edge.runtime.torch_backend.graph import Graph

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


class RandomTensors:
    """A source for the converter: weights that keep the size of what they multiply, norms near 1."""

    def __init__(self, config: ModelConfig, seed: int) -> None:
        self.shapes = checkpoint_shapes(config)
        self.seed = seed

    def names(self) -> list[str]:
        return list(self.shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def read_rows(self, name: str, start: int, stop: int) -> np.ndarray:
        shape = self.shapes[name]
        normal = np.random.default_rng([self.seed, zlib.crc32(name.encode())]).standard_normal(shape, np.float32)
        if "norm" in name:
            normal = 1 + 0.1 * normal
        elif len(shape) == 1:
            normal *= 0.3
        else:
            normal *= shape[1] ** -0.5
        return normal.astype(np.float32)[start:stop]


def write(folder: Path, name: str, quant: str, seed: int) -> Path:
    """The file of MODELS[name]."""
    target = folder / f"{name}-{quant}.q3e"
    config = MODELS[name]
    write_model(RandomTensors(config, seed), config, {"general.name": name}, target, find_recipe(quant))
    return target


def weights_of(graph: Graph) -> list[DeviceMatrix | torch.Tensor]:
    """All that a graph holds of its file, each once."""
    found = {}
    for owner in (graph, *graph.blocks):
        for value in vars(owner).values():
            for weight in value if isinstance(value, tuple) else (value,):
                if isinstance(weight, DeviceMatrix | torch.Tensor):
                    found[id(weight)] = weight
    return list(found.values())
