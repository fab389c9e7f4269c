"""A small Qwen2 cut out of a trained Qwen3 whose heads are twice as large, to be trained further."""

from __future__ import annotations

import torch
from tiny_model import Layer, TinyQwen2Config, TinyQwen3
from torch import Tensor

RIDGE = 1e-3  # of the mean square of what a matrix reads


@torch.no_grad()
def cut(small: TinyQwen3, large: TinyQwen3, tokens: Tensor, chats: Tensor, positions: Tensor) -> None:
    """Gives `small`, a Qwen2, the parts of `large` that matter most on a batch of [rows, length] tokens.

    Every second pair of a head's channels stays, whose RoPE frequencies are those of the smaller head. Of the values
    half the rank stays, of the feed-forward network the units that write most. All matrices and biases but those of
    gate and up are then fitted, layer by layer, by least squares: queries and keys to the normed ones of `large`, and
    what a layer writes to where the stream of `large` goes, so that each part makes up for what was cut before it.
    """
    assert isinstance(small.config, TinyQwen2Config)
    for name in ("embed_tokens", "norm"):
        getattr(small.model, name).load_state_dict(getattr(large.model, name).state_dict())
    real = chats != 0
    x, *seen = small.begin(tokens, chats, positions)
    y, *seen_by_large = large.begin(tokens, chats, positions)
    for ours, theirs in zip(small.model.layers, large.model.layers, strict=True):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            getattr(ours, norm).load_state_dict(getattr(theirs, norm).state_dict())
        _cut_attention(small.config, ours, theirs, ours.input_layernorm(x)[real], theirs.input_layernorm(y)[real])
        y = y + theirs.self_attn(theirs.input_layernorm(y), *seen_by_large)
        heads = ours.self_attn.heads_of(ours.input_layernorm(x), *seen)
        ours.self_attn.o_proj.weight.copy_(_least_squares(heads[real], (y - x)[real]))
        x = x + ours.self_attn.o_proj(heads)
        units = theirs.mlp.units_of(theirs.post_attention_layernorm(y))
        written = units[real].square().mean(0).sqrt() * theirs.mlp.down_proj.weight.norm(dim=0)
        kept = written.topk(small.config.intermediate_size).indices
        for projection in ("gate_proj", "up_proj"):
            getattr(ours.mlp, projection).weight.copy_(getattr(theirs.mlp, projection).weight[kept])
        y = y + theirs.mlp.down_proj(units)
        units = ours.mlp.units_of(ours.post_attention_layernorm(x))
        ours.mlp.down_proj.weight.copy_(_least_squares(units[real], (y - x)[real]))
        x = x + ours.mlp.down_proj(units)


def _cut_attention(config: TinyQwen2Config, ours: Layer, theirs: Layer, x: Tensor, y: Tensor) -> None:
    """All but what is written. x, y: what the small and the large layer's attention read, [tokens, hidden]."""
    size, group = config.head_dim, config.num_attention_heads // config.num_key_value_heads
    pairs = torch.cat([torch.arange(0, size, 2), torch.arange(size, 2 * size, 2)])
    wanted = {}
    for letter in "qk":
        heads = getattr(theirs.self_attn, f"{letter}_proj")(y).unflatten(-1, (-1, 2 * size))
        # Half the products are left, and scores are divided by the root of half their number.
        wanted[letter] = 2**0.25 * getattr(theirs.self_attn, f"{letter}_norm")(heads)[..., pairs].flatten(1)
    outputs = theirs.self_attn.o_proj.weight.unflatten(1, (-1, group, 2 * size))  # [hidden, KV heads, group, size]
    values = theirs.self_attn.v_proj.weight.unflatten(0, (-1, 2 * size))  # [KV heads, size, hidden]
    products = torch.einsum("okgs,ksi->kgoi", outputs, values).flatten(1, 2)
    _, strengths, right = torch.linalg.svd(products, full_matrices=False)
    wanted["v"] = y @ (strengths[:, :size].sqrt()[:, :, None] * right[:, :size]).flatten(0, 1).T
    ones = torch.ones(len(x), 1)
    for letter, target in wanted.items():
        projection = getattr(ours.self_attn, f"{letter}_proj")
        matrix = _least_squares(torch.cat([x, ones], dim=1), target)
        projection.weight.copy_(matrix[:, :-1])
        projection.bias.copy_(matrix[:, -1])


def _least_squares(read: Tensor, wanted: Tensor) -> Tensor:
    """The matrix W [out, in] with W read = wanted, for rows read [n, in] and wanted [n, out]."""
    gram = (read.T @ read).double()
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram, (read.T @ wanted).double()).T.float()
