"""Which matrices, in which formats, the recipes give a model: what its GPU kernels are compiled for."""

from __future__ import annotations

import functools
from dataclasses import replace

from qwen3edge.config import ModelConfig
from qwen3edge.convert.names import EMBEDDING, HEAD, model_tensors
from qwen3edge.convert.recipe import VECTOR, find_recipe
from qwen3edge.kernels.specialization import MODEL_SHAPES, ModelShape

RECIPES = ("int4", "int8")


@functools.cache
def shape_of(model: str, recipes: tuple[str, ...] = RECIPES) -> ModelShape:
    """One of MODEL_SHAPES with the formats that the recipes give its layers, each distinct layer once."""
    shape = MODEL_SHAPES[model]
    found = [formats for recipe in recipes for formats in layer_formats(config_of(shape), recipe)]
    return replace(shape, formats=tuple({tuple(formats.items()): formats for formats in found}.values()))


def layer_formats(config: ModelConfig, recipe: str) -> list[dict[str, str]]:
    """Of every layer: the format of each matrix by its name without `blk.N.`, of the embedding and of the head too."""
    rules = find_recipe(recipe)
    formats = {tensor.name: rules.format_of(tensor, config.layers) for tensor in model_tensors(config)}
    whole = {EMBEDDING: formats[EMBEDDING], HEAD: formats.get(HEAD, formats[EMBEDDING])}
    layers: list[dict[str, str]] = [{} for _ in range(config.layers)]
    for name, found in formats.items():
        kind, _, rest = name.partition(".")
        if kind == "blk" and found != VECTOR:
            number, _, end = rest.partition(".")
            layers[int(number)][end] = found
    return [{**layer, **whole} for layer in layers]


def config_of(shape: ModelShape) -> ModelConfig:
    """What a file of that shape says of itself."""
    return ModelConfig(
        model_type="qwen3_moe" if shape.experts else "qwen3",
        vocab_size=shape.vocabulary,
        context_length=40960,
        hidden_size=shape.hidden,
        layers=shape.layers,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_size=shape.head_dim,
        rms_epsilon=1e-6,
        rope_theta=1e6,
        qk_norm=True,
        qkv_bias=False,
        tied_embeddings=shape.tied,
        ffn_size=shape.feed_forward,
        experts=shape.experts,
        experts_per_token=shape.experts_per_token,
        expert_ffn_size=shape.expert_feed_forward,
        norm_topk_prob=bool(shape.experts),
    )
