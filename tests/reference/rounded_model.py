"""transformers' own Qwen3 and Qwen2 with the weights of a `.q3e` file, and with the engine's rounding of activations.

The engine differs from the float32 model in three places: the weights, the activations that meet a quantized matrix as
int8 with one scale a block (docs/format.md), and the KV cache. Here the first two can be switched on one by one, in
torch; attention stays in float32, as in the engine with kv="f32".
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert.names import EMBEDDING, HEAD, model_tensors

FORMAT_BLOCKS = {entry["name"]: entry["block"] for entry in _core.block_formats()}
"""Values of K that share one float scale; 0: activations stay as they are."""

TIE_MARGIN = 0.01
"""Steps of the int8 grid: what float32 arithmetic may move an activation by."""


def load_reference(folder: Path) -> PreTrainedModel:
    """The checkpoint in float32 with the plainest attention."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def load_dequantized(folder: Path, file: _core.ModelFile) -> PreTrainedModel:
    """The folder's architecture with every tensor of `file`, dequantized to float32."""
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), attn_implementation="eager")
    model = model.float().eval()
    put_weights(model, file)
    return model


def put_weights(model: PreTrainedModel, file: _core.ModelFile) -> None:
    """Overwrites all parameters of the model."""
    tensors = model_tensors(ModelConfig.from_metadata(file))
    missing = {name for name, _ in model.named_parameters()} - {tensor.source for tensor in tensors}
    if missing:
        raise ValueError(f"the file has no tensors for {sorted(missing)}")
    put_matrices(model, file, [tensor.name for tensor in tensors])


def put_matrices(model: PreTrainedModel, file: _core.ModelFile, names: Sequence[str]) -> None:
    """Overwrites the parameters that have these names in the file."""
    sources = {tensor.name: tensor.source for tensor in model_tensors(ModelConfig.from_metadata(file))}
    parameters = dict(model.named_parameters())  # a tied head is the embedding and has no name of its own
    with torch.no_grad():
        for name in names:
            parameter = parameters[sources[name]]
            parameter.copy_(torch.from_numpy(file.dequantize(name)).reshape(parameter.shape))


def linear_names(file: _core.ModelFile) -> dict[str, str]:
    """The linear layers' names in transformers, each with the name in the file of the matrix that it multiplies by."""
    config = ModelConfig.from_metadata(file)
    names = {
        tensor.source.removesuffix(".weight"): tensor.name
        for tensor in model_tensors(config)
        if not tensor.is_vector and tensor.name not in (EMBEDDING, HEAD)
    }
    return {**names, "lm_head": EMBEDDING if config.tied_embeddings else HEAD}


def linear_blocks(file: _core.ModelFile) -> dict[str, int]:
    """The activation block of every linear layer, by the layer's name in transformers."""
    formats = {tensor["name"]: tensor["format"] for tensor in file.tensors()}
    return {layer: FORMAT_BLOCKS[formats[name]] for layer, name in linear_names(file).items()}


@dataclass
class Rounding:
    """What a model's hooks did; see `rounded_activations`."""

    values: int = 0  # that were rounded
    followed: int = 0  # of them to the other side of a tie than by themselves, as the engine did
    refused: int = 0  # of them differently from the engine, which was not near a tie


def round_to_blocks(x: Tensor, block: int, decisions: Tensor | None = None, counts: Rounding | None = None) -> Tensor:
    """x [..., K] float32 as int8 times one scale, max|x| / 127, for each `block` values of K; the last may be short.

    decisions: the integers [..., K] that the engine chose; each is taken if it is a nearest one within TIE_MARGIN.
    """
    if block == 0:
        return x
    width = x.shape[-1]
    padded = nn.functional.pad(x, (0, -width % block)).unflatten(-1, (-1, block))
    largest = padded.abs().amax(-1, keepdim=True)
    steps = padded * torch.where(largest > 0, 127 / largest, 0)
    rounded = torch.round(steps).clamp(-127, 127)
    if decisions is not None:
        theirs = nn.functional.pad(decisions, (0, -width % block)).unflatten(-1, (-1, block)).to(x.dtype)
        near = (steps - theirs).abs() <= 0.5 + TIE_MARGIN
        if counts is not None:
            counts.followed += int((near & (rounded != theirs)).sum())
            counts.refused += int((~near).sum())
        rounded = torch.where(near, theirs, rounded)
    if counts is not None:
        counts.values += x.numel()
    return (rounded * (largest / 127)).flatten(-2)[..., :width]


@contextlib.contextmanager
def rounded_activations(
    model: PreTrainedModel, blocks: Mapping[str, int], decisions: Mapping[str, Tensor] | None = None
) -> Iterator[Rounding]:
    """Within it, each linear layer rounds its input: `blocks` by the layer's name, as `linear_blocks` returns it.

    decisions: what the engine rounded each layer's input to, int8 [tokens, K]. Two float32 programs differ in the last
    bits of an activation, so of some 100,000 activations one falls on the other side of a tie; it moves its layer's
    result by far more than those bits, further layers multiply such flips, and after a few layers both programs
    round alike but not the same numbers. With the decisions of ties shared, whatever else differs is seen.
    """
    counts = Rounding()

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor]]:
        taken = None if decisions is None else decisions.get(name)
        return lambda _, inputs: (round_to_blocks(inputs[0], blocks[name], taken, counts),)

    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    if layers.keys() != blocks.keys():
        raise ValueError(f"expected a block for each linear layer, found {sorted(layers.keys() ^ blocks.keys())}")
    handles = [layer.register_forward_pre_hook(hook(name)) for name, layer in layers.items()]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


def reference_logits(model: PreTrainedModel, tokens: NDArray[np.integer]) -> NDArray[np.float32]:
    """tokens [n] -> logits float32 [n, vocabulary]."""
    with torch.inference_mode():
        return model(torch.from_numpy(np.asarray(tokens, np.int64))[None], use_cache=False).logits[0].numpy()
