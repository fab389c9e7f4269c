"""transformers' experts with the engine's rounding of what meets their matrices (tests/reference/rounded_model.py)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from qwen3edge import _core
from tests.reference import rounded_model as rr


def _forward(experts: nn.Module, blocks: tuple[int, int], x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """x [tokens, hidden], chosen and weights [tokens, top] -> [tokens, hidden]. blocks: of gate_up and down."""
    out = torch.zeros_like(x)
    rounded = rr.round_to_blocks(x, blocks[0])
    for expert in range(experts.num_experts):
        token, rank = torch.where(chosen == expert)
        gate, up = nn.functional.linear(rounded[token], experts.gate_up_proj[expert]).chunk(2, dim=-1)
        product = rr.round_to_blocks(nn.functional.silu(gate) * up, blocks[1])
        out.index_add_(0, token, nn.functional.linear(product, experts.down_proj[expert]) * weights[token, rank, None])
    return out


@contextlib.contextmanager
def rounded(model: nn.Module, file: _core.ModelFile) -> Iterator[None]:
    """Within it all matrices of the model, experts or not, meet activations that are rounded as the file's are."""
    formats = {tensor["name"]: rr.FORMAT_BLOCKS[tensor["format"]] for tensor in file.tensors()}
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    blocks = {name: block for name, block in rr.linear_blocks(file).items() if name in linear}
    patched = []
    for number, layer in enumerate(model.model.layers):
        experts = getattr(layer.mlp, "experts", None)
        if experts is not None:
            own = tuple(formats[f"blk.{number}.ffn_{part}_exps.weight"] for part in ("gate_up", "down"))
            experts.forward = partial(_forward, experts, own)
            patched.append(experts)
    try:
        with rr.rounded_activations(model, blocks):
            yield
    finally:
        for experts in patched:
            del experts.forward
