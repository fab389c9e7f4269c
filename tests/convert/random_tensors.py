"""Random weights of any config, as a checkpoint of Hugging Face has them."""

import zlib

import numpy as np

from qwen3edge.config import ModelConfig
from qwen3edge.convert.experts import checkpoint_shapes


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
            normal *= shape[-1] ** -0.5
        return normal.astype(np.float32).reshape(-1, *shape[1:][-1:])[start:stop]
