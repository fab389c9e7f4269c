"""A plain Qwen3, dense or with experts, or Qwen2, for training: packed rows, logits only where there is a loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BALANCE_WEIGHT = 0.01  # of the routers' imbalance in the loss
UPCYCLE_SCALE = 1.5


@dataclass(frozen=True)
class TinyConfig:
    """The shape of the model, with the keys of Qwen3's config.json."""

    vocab_size: int
    hidden_size: int = 256
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 128
    intermediate_size: int = 768
    rope_theta: float = 1e6
    rms_norm_eps: float = 1e-6
    max_position_embeddings: int = 2048


@dataclass(frozen=True)
class TinyMoeConfig(TinyConfig):
    """With experts in place of the feed-forward network; of `intermediate_size` nothing is left but the key."""

    num_experts: int = 16
    num_experts_per_tok: int = 4
    moe_intermediate_size: int = 64


@dataclass(frozen=True)
class TinyQwen2Config(TinyConfig):
    """A Qwen2: queries, keys and values have a bias, and no norm; heads fill the hidden size."""

    head_dim: int = 64
    intermediate_size: int = 192


class Tiny(Protocol):
    """What is trained and saved, whatever its architecture."""

    config: Any  # has vocab_size and max_position_embeddings

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def checkpoint(self) -> dict[str, Tensor]: ...
    def config_json(self, eos_id: int, pad_id: int) -> dict[str, Any]: ...


def _config_json(config: TinyConfig, eos_id: int, pad_id: int) -> dict[str, Any]:
    """The contents of config.json."""
    dense: dict[str, Any] = {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": pad_id,
        "eos_token_id": eos_id,
        **asdict(config),
        "rope_theta": int(config.rope_theta),
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_window_layers": config.num_hidden_layers,
        "model_type": "qwen3",
        "rope_scaling": None,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
    }
    if isinstance(config, TinyQwen2Config):
        unknown = ("attention_bias", "head_dim")  # to Qwen2
        dense = {key: value for key, value in dense.items() if key not in unknown}
        return dense | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
    if not isinstance(config, TinyMoeConfig):
        return dense
    return dense | {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "norm_topk_prob": True,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.001,
    }


def rotation(positions: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines for the half-split rotary embedding: [rows, length] -> two of [rows, 1, length, head_dim]."""
    frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = positions[:, None, :, None].float() * frequencies
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of x, [rows, heads, length, head_dim]."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin


def initialize(model: nn.Module, layers: int) -> None:
    """Random matrices, of a size that keeps what each layer adds to the stream small; no biases."""
    residual_scale = (2 * layers) ** -0.5
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            is_output = name.endswith(("o_proj.weight", "down_proj.weight", "out_proj.weight"))
            std = 0.02 if "embed" in name else weight.shape[1] ** -0.5 * (residual_scale if is_output else 1.0)
            nn.init.normal_(weight, std=std)
        elif name.endswith(".bias"):
            nn.init.zeros_(weight)


class Norm(nn.Module):
    """RMSNorm over the last dimension."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    def __init__(self, c: TinyConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = c.num_attention_heads, c.num_key_value_heads, c.head_dim
        has_bias = isinstance(c, TinyQwen2Config)
        self.q_proj = nn.Linear(c.hidden_size, self.heads * self.head_dim, bias=has_bias)
        self.k_proj = nn.Linear(c.hidden_size, self.kv_heads * self.head_dim, bias=has_bias)
        self.v_proj = nn.Linear(c.hidden_size, self.kv_heads * self.head_dim, bias=has_bias)
        self.o_proj = nn.Linear(self.heads * self.head_dim, c.hidden_size, bias=False)
        self.q_norm = nn.Identity() if has_bias else Norm(self.head_dim, c.rms_norm_eps)
        self.k_norm = nn.Identity() if has_bias else Norm(self.head_dim, c.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """[rows, length, hidden] -> the same; `mask` is added to the scores, [rows, 1, length, length]."""
        return self.o_proj(self.heads_of(x, cos, sin, mask))

    def heads_of(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """What `o_proj` reads: [rows, length, heads * head_dim]."""
        rows, length, _ = x.shape
        q = self.q_norm(self.q_proj(x).view(rows, length, self.heads, self.head_dim)).transpose(1, 2)
        k = self.k_norm(self.k_proj(x).view(rows, length, self.kv_heads, self.head_dim)).transpose(1, 2)
        v = self.v_proj(x).view(rows, length, self.kv_heads, self.head_dim).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        group = self.heads // self.kv_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        # On CPUs two bf16 products beat scaled_dot_product_attention by half at these lengths.
        scores = torch.matmul(q, k.transpose(-1, -2)) * self.head_dim**-0.5 + mask
        out = torch.matmul(scores.softmax(dim=-1, dtype=scores.dtype), v)
        return out.transpose(1, 2).reshape(rows, length, -1)


class Mlp(nn.Module):
    def __init__(self, c: TinyConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.units_of(x))

    def units_of(self, x: Tensor) -> Tensor:
        """What `down_proj` reads: [..., intermediate_size]."""
        return F.silu(self.gate_proj(x)) * self.up_proj(x)


class Mixture(nn.Module):
    """Each token's output is that of its `num_experts_per_tok` best experts, weighted.

    All experts lie in three matrices and all are computed, most to be weighted with zero: this small it costs little.
    """

    def __init__(self, c: TinyMoeConfig) -> None:
        super().__init__()
        self.experts, self.top = c.num_experts, c.num_experts_per_tok
        self.gate = nn.Linear(c.hidden_size, c.num_experts, bias=False)
        self.gate_proj = nn.Linear(c.hidden_size, c.num_experts * c.moe_intermediate_size, bias=False)
        self.up_proj = nn.Linear(c.hidden_size, c.num_experts * c.moe_intermediate_size, bias=False)
        self.down_proj = nn.Linear(c.num_experts * c.moe_intermediate_size, c.hidden_size, bias=False)
        self.imbalance = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            shares = F.linear(x.float(), self.gate.weight).softmax(dim=-1)  # [rows, length, experts]
        best, chosen = shares.topk(self.top, dim=-1)
        weights = torch.zeros_like(shares).scatter(-1, chosen, best / best.sum(dim=-1, keepdim=True))
        # 1 when all are chosen alike (Fedus et al. 2022, equation 4).
        used = (weights > 0).float().mean(dim=(0, 1)) / self.top
        self.imbalance = self.experts * (used * shares.mean(dim=(0, 1))).sum()
        hidden = F.silu(self.gate_proj(x)) * self.up_proj(x)
        hidden = hidden.unflatten(-1, (self.experts, -1)) * weights[..., None].to(hidden.dtype)
        return self.down_proj(hidden.flatten(-2))


class Layer(nn.Module):
    def __init__(self, c: TinyConfig) -> None:
        super().__init__()
        self.input_layernorm = Norm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = Norm(c.hidden_size, c.rms_norm_eps)
        self.mlp = Mixture(c) if isinstance(c, TinyMoeConfig) else Mlp(c)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, c: TinyConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))
        self.norm = Norm(c.hidden_size, c.rms_norm_eps)


class TinyQwen3(nn.Module):
    """`checkpoint()` and `restore()` have exactly the names of a tied Qwen3ForCausalLM, Qwen3MoeForCausalLM or, with
    a TinyQwen2Config, Qwen2ForCausalLM."""

    def __init__(self, config: TinyConfig, dtype: torch.dtype = torch.bfloat16) -> None:
        """dtype: of the matrix products; a CPU without bf16 instructions is twice as fast in float32."""
        super().__init__()
        self.config, self.dtype = config, dtype
        self.model = Decoder(config)
        initialize(self, config.num_hidden_layers)

    def loss(self, tokens: Tensor, chats: Tensor, positions: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy over the targets that are not -100.

        All arguments are [rows, length] int64. `chats` numbers the chat of each token within its row; tokens see
        only earlier tokens of their own chat.
        """
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            x, *seen = self.begin(tokens, chats, positions)
            for layer in self.model.layers:
                x = layer(x, *seen)
            trained = targets != -100
            logits = F.linear(self.model.norm(x[trained]), self.model.embed_tokens.weight)
        loss = F.cross_entropy(logits.float(), targets[trained])
        mixtures = [layer.mlp for layer in self.model.layers if isinstance(layer.mlp, Mixture)]
        return loss + BALANCE_WEIGHT * sum((mixture.imbalance for mixture in mixtures), torch.zeros(()))

    def begin(self, tokens: Tensor, chats: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the first layer gets: embedded tokens, cosines, sines and mask."""
        config, length = self.config, tokens.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        seen = (chats[:, None, :, None] == chats[:, None, None, :]) & causal  # [rows, 1, length, length]
        mask = torch.zeros(seen.shape, dtype=self.dtype).masked_fill(~seen, -1e4)
        cos, sin = rotation(positions, config.head_dim, config.rope_theta)
        x = self.model.embed_tokens(tokens).to(self.dtype)
        return x, cos.to(x.dtype), sin.to(x.dtype), mask

    def config_json(self, eos_id: int, pad_id: int) -> dict[str, Any]:
        """The contents of config.json."""
        return _config_json(self.config, eos_id, pad_id)

    def checkpoint(self) -> dict[str, Tensor]:
        """The weights, each expert's by themselves."""
        out: dict[str, Tensor] = {}
        for name, weight in self.state_dict().items():
            mlp, projection, _ = name.rsplit(".", 2) if ".mlp." in name else ("", "", "")
            if not isinstance(self.config, TinyMoeConfig) or not projection.endswith("_proj"):
                out[name] = weight
                continue
            pieces = weight.chunk(self.config.num_experts, dim=_expert_dimension(projection))
            out.update({f"{mlp}.experts.{e}.{projection}.weight": piece for e, piece in enumerate(pieces)})
        return out

    def restore(self, weights: dict[str, Tensor]) -> None:
        """What `checkpoint` gave."""
        state = {}
        for name in self.state_dict():
            if name in weights:
                state[name] = weights[name]
                continue
            assert isinstance(self.config, TinyMoeConfig)
            mlp, projection, _ = name.rsplit(".", 2)
            pieces = [weights[f"{mlp}.experts.{e}.{projection}.weight"] for e in range(self.config.num_experts)]
            state[name] = torch.cat(pieces, dim=_expert_dimension(projection))
        self.load_state_dict(state)

    def upcycle(self, dense: dict[str, Tensor]) -> None:
        """Starts a mixture from a dense model: experts are parts of its feed-forward network (Komatsuzaki et al. 2022).

        The hidden units are dealt out at random until every expert is full, some a second time with noise. Routers
        start at random.
        """
        config = self.config
        assert isinstance(config, TinyMoeConfig)
        state = self.state_dict()
        for name in state:
            mlp, _, projection = name.removesuffix(".weight").rpartition(".")
            if not projection.endswith("_proj") or not mlp.endswith(".mlp"):
                state[name] = dense.get(name, state[name])
        size, wanted = config.intermediate_size, config.num_experts * config.moe_intermediate_size
        for n in range(config.num_hidden_layers):
            units = torch.cat([torch.randperm(size) for _ in range(-(-wanted // size))])[:wanted]
            for projection in ("gate_proj", "up_proj", "down_proj"):
                name = f"model.layers.{n}.mlp.{projection}.weight"
                weight = dense[name].float().index_select(_expert_dimension(projection), units)
                noise = 0.02 * weight.std() * torch.randn_like(weight)
                # The weights of a token's experts sum to 1, and stand for the units that it does not see.
                scale = UPCYCLE_SCALE * config.num_experts_per_tok if projection == "down_proj" else 1.0
                state[name] = scale * (weight + noise)
        self.load_state_dict(state)


def _expert_dimension(projection: str) -> int:
    return 1 if projection == "down_proj" else 0
