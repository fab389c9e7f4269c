"""The NumPy references of Qwen3.5's blocks against transformers' modules."""

import numpy as np
import pytest
import torch
from transformers import Qwen3_5TextConfig
from transformers.models.qwen3_5.modeling_qwen3_5 import (
    Qwen3_5Attention,
    Qwen3_5GatedDeltaNet,
    Qwen3_5TextRotaryEmbedding,
)

from tests.reference.hybrid_blocks import (
    AttentionShape,
    DeltaShape,
    DeltaState,
    delta_net,
    gated_attention,
)

HIDDEN = 96


def weights_of(module: torch.nn.Module, seed: int) -> dict[str, np.ndarray]:
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name == "A_log":
                parameter.uniform_(-3, 2)
            elif parameter.dim() == 1:
                parameter.normal_(0.5, 0.5)
            else:
                parameter.normal_(0, 1.5 / parameter[0].numel() ** 0.5)
    return {name: parameter.detach().numpy() for name, parameter in module.named_parameters()}


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(found - expected).max() <= 1e-4 * np.sqrt((expected**2).mean()))


@pytest.mark.parametrize("value_heads", [2, 4, 6])
@pytest.mark.parametrize("tokens", [1, 3, 150])
def test_delta_net(value_heads, tokens, seed):
    config = Qwen3_5TextConfig(
        hidden_size=HIDDEN,
        linear_num_key_heads=2,
        linear_num_value_heads=value_heads,
        linear_key_head_dim=32,
        linear_value_head_dim=32,
        num_hidden_layers=1,
    )
    module = Qwen3_5GatedDeltaNet(config, 0).eval()
    w = weights_of(module, seed)
    x = np.random.default_rng(seed).standard_normal((tokens, HIDDEN), np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)[None])[0].numpy()
    shape, state = DeltaShape(2, value_heads, 32), DeltaState()
    found = np.concatenate([delta_net(part, w, shape, state) for part in np.array_split(x, min(tokens, 4))])
    assert found.dtype == np.float32 and close(found, expected)
    wide = {name: values.astype(np.float64) for name, values in w.items()}
    assert close(delta_net(x.astype(np.float64), wide, shape, DeltaState()), expected)


@pytest.mark.parametrize("tokens", [1, 70])
def test_gated_attention(tokens, seed):
    config = Qwen3_5TextConfig(
        hidden_size=HIDDEN,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        num_hidden_layers=4,
        attn_implementation="eager",
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25},
    )
    module = Qwen3_5Attention(config, 3).eval()
    w = weights_of(module, seed)
    x = np.random.default_rng(seed).standard_normal((tokens, HIDDEN), np.float32)
    rope = Qwen3_5TextRotaryEmbedding(config)
    mask = torch.full((tokens, tokens), -torch.inf).triu(1)[None, None]
    with torch.no_grad():
        inputs = torch.from_numpy(x)[None]
        expected = module(inputs, rope(inputs, torch.arange(tokens)[None, None]), mask)[0][0].numpy()
    assert close(gated_attention(x, w, AttentionShape(4, 2, 64, 16, 1e4)), expected)
