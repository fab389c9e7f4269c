"""A small Qwen3.5 for training: transformers' own text model, which begins with most of a trained Qwen3."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from tiny_model import Attention, TinyConfig, TinyQwen3, initialize
from torch import Tensor, nn
from transformers import Qwen3_5ForCausalLM, Qwen3_5TextConfig

LANGUAGE_MODEL = "model.language_model."  # where checkpoints have the text part
Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def hybrid_config(vocab_size: int) -> Qwen3_5TextConfig:
    """Three layers of gated delta net, each value head pair with a key head, and one of full attention; heads have the
    sizes that they have in Qwen3.5.
    """
    return Qwen3_5TextConfig(
        vocab_size=vocab_size,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10_000_000,
            "partial_rotary_factor": 0.25,
            "mrope_section": [11, 11, 10],
            "mrope_interleaved": True,
        },
    )


class TinyHybrid(nn.Module):
    """Trained on rows of one chat each, with padding behind it, which nothing before it sees."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.config = hybrid_config(vocab_size)
        self.causal = Qwen3_5ForCausalLM(self.config)
        initialize(self, self.config.num_hidden_layers)
        for layer in self.causal.model.layers:
            if hasattr(layer, "linear_attn"):
                _remember(layer.linear_attn)

    def train_mixers_alone(self, alone: bool) -> None:
        """Mixers are the first halves of layers: gated delta nets and attention."""
        for name, weight in self.named_parameters():
            weight.requires_grad_(not alone or ".linear_attn." in name or ".self_attn." in name)

    def loss(self, tokens: Tensor, chats: Tensor, positions: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy over the targets that are not -100; all arguments are [rows, length] int64."""
        x = self.causal.model(tokens, use_cache=False).last_hidden_state
        trained = targets != -100
        return F.cross_entropy(self.causal.lm_head(x[trained]), targets[trained])

    def config_json(self, eos_id: int, pad_id: int) -> dict[str, Any]:
        """The contents of config.json, as of a checkpoint that has a vision tower as well."""
        text = {**self.config.to_diff_dict(), "eos_token_id": eos_id, "dtype": "bfloat16"}
        return {
            "architectures": ["Qwen3_5ForConditionalGeneration"],
            "model_type": "qwen3_5",
            "tie_word_embeddings": True,
            "text_config": text,
        }

    def checkpoint(self) -> dict[str, Tensor]:
        """The weights, under the names of Qwen3.5's checkpoints."""
        state = self.causal.state_dict()
        state.pop("lm_head.weight")  # tied
        return {LANGUAGE_MODEL + name.removeprefix("model."): weight for name, weight in state.items()}

    def restore(self, weights: dict[str, Tensor]) -> None:
        """What `checkpoint` gave."""
        state = {"model." + name.removeprefix(LANGUAGE_MODEL): weight for name, weight in weights.items()}
        self.causal.load_state_dict(state | {"lm_head.weight": state["model.embed_tokens.weight"]})

    @torch.no_grad()
    def adopt(self, large: TinyQwen3) -> None:
        """Takes all but the gated delta nets from a Qwen3 with layers of the same sizes."""
        ours, theirs = self.causal.model, large.model
        ours.embed_tokens.weight.copy_(theirs.embed_tokens.weight)
        ours.norm.weight.copy_(theirs.norm.weight - 1)
        for mine, other in zip(ours.layers, theirs.layers, strict=True):
            for norm in ("input_layernorm", "post_attention_layernorm"):
                getattr(mine, norm).weight.copy_(getattr(other, norm).weight - 1)
            mine.mlp.load_state_dict(other.mlp.state_dict())
            if hasattr(mine, "self_attn"):
                adopt_attention(mine.self_attn, other.self_attn, self.config)

    def mixers_loss(self, large: TinyQwen3, tokens: Tensor, chats: Tensor, positions: Tensor, _: Tensor) -> Tensor:
        """How far the mixers are from a Qwen3's attention, each given what that one reads: the mean square of the
        difference, as a share of what is to be written, summed over the layers.
        """
        real = chats != 0
        with torch.no_grad():
            x, *seen = large.begin(tokens, chats, positions)
        angles = self.causal.model.rotary_emb(x, positions[None].expand(3, -1, -1))
        total = torch.zeros(())
        for mine, other in zip(self.causal.model.layers, large.model.layers, strict=True):
            with torch.no_grad():
                read = other.input_layernorm(x)
                wanted = other.self_attn(read, *seen)
                x = x + wanted
                x = x + other.mlp(other.post_attention_layernorm(x))
            if hasattr(mine, "linear_attn"):
                found = mine.linear_attn(read)
            else:
                found, _weights = mine.self_attn(read, position_embeddings=angles, attention_mask=seen[-1])
            total = total + F.mse_loss(found[real], wanted[real]) / wanted[real].square().mean()
        return total


@torch.no_grad()
def adopt_attention(ours: Any, theirs: Attention, config: Qwen3_5TextConfig) -> None:
    """Makes of two KV heads one of twice the size, which has both beside each other; a query has zeros where the other
    head's channels are. The norms and the scale of the larger head make up for each other, and scores are the same but
    for the positions: every second pair of channels that turns is a head's, and is given to those channels of it whose
    frequency is next. All others of it do not turn. The gate is half open.
    """
    size, hidden, turning = theirs.head_dim, config.hidden_size, int(config.head_dim * 0.25) // 2
    ratio = math.log(config.rope_parameters["rope_theta"]) / turning / (math.log(TinyConfig.rope_theta) / (size // 2))
    queries, keys, values = (getattr(theirs, f"{name}_proj").weight.unflatten(0, (-1, size)) for name in "qkv")
    outputs = theirs.o_proj.weight.unflatten(1, (-1, size))
    q, o = torch.zeros(theirs.heads, 2 * config.head_dim, hidden), torch.zeros(hidden, theirs.heads, config.head_dim)
    group = theirs.heads // theirs.kv_heads
    still = iter(range(2 * turning, config.head_dim))
    for head in range(theirs.kv_heads):
        pairs: dict[int, int] = {}  # of theirs, to ours
        for pair in range(head, turning, theirs.kv_heads):
            wanted = round(pair * ratio)
            pairs[
                next(free for free in itertools.chain(range(wanted, size // 2), range(size // 2)) if free not in pairs)
            ] = pair
        place = torch.empty(size, dtype=torch.int64)
        for channel in range(size):
            half, pair = divmod(channel, size // 2)
            place[channel] = pairs[pair] + half * turning if pair in pairs else next(still)
        ours.k_proj.weight[place] = keys[head]
        ours.k_norm.weight[place] = theirs.k_norm.weight - 1
        ours.q_norm.weight[place] = theirs.q_norm.weight - 1
        beside = slice(head * size, (head + 1) * size)
        ours.v_proj.weight[beside] = values[head]
        for query in range(head * group, (head + 1) * group):
            q[query, place] = queries[query]
            o[:, query, beside] = 2 * outputs[:, query]
    ours.q_proj.weight.copy_(q.flatten(0, 1))
    ours.o_proj.weight.copy_(o.flatten(1))


def _remember(net: Any) -> None:
    """Decays as flash-linear-attention starts them: transformers' own would forget all within a token or two."""
    with torch.no_grad():
        net.A_log.uniform_(0.01, 16).log_()
        steps = torch.empty_like(net.dt_bias).uniform_(-6.9, -2.3).exp()  # 0.001 to 0.1
        net.dt_bias.copy_(steps + torch.log(-torch.expm1(-steps)))


def rows_of_a_chat(encoded: Iterator[tuple[list[int], list[int]]], most: int) -> Iterator[Batch]:
    """Batches of at most `most` tokens with padding: tokens, chat numbers, positions, targets, all [rows, length].

    Chats that stand together are of similar length: a pool of them is sorted, and its batches come in random order.
    """
    while True:
        pool = sorted((next(encoded) for _ in range(512)), key=lambda chat: len(chat[0]))
        groups: list[list[tuple[list[int], list[int]]]] = [[]]
        for chat in pool:
            if len(chat[0]) * (len(groups[-1]) + 1) > most:
                groups.append([])
            groups[-1].append(chat)
        for chosen in torch.randperm(len(groups)).tolist():
            yield _padded(groups[chosen])


def _padded(chats: list[tuple[list[int], list[int]]]) -> Batch:
    shape = len(chats), max(len(tokens) for tokens, _ in chats)
    tokens, numbers = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    targets = torch.full(shape, -100)
    for row, chat in enumerate(chats):
        size = len(chat[0])
        tokens[row, :size], targets[row, :size] = torch.tensor(chat[0]), torch.tensor(chat[1])
        numbers[row, :size] = 1
    return tokens, numbers, torch.arange(shape[1]).expand(shape), targets
