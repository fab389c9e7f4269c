"""config.json of Qwen3 and Qwen2, as Hugging Face writes it and as it must not be."""

import json
import math
import sys

import numpy as np
import pytest
from transformers import Qwen2Config, Qwen3Config

from qwen3edge import _core
from qwen3edge.architectures.keys import rope_notes, token_ids
from qwen3edge.config import ModelConfig
from qwen3edge.convert import convert
from qwen3edge.errors import CheckpointError, FileFormatError, Qwen3EdgeError, UnsupportedModelError

QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "model_type": "qwen3",
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
    "vocab_size": 151936,
}
QWEN2 = {
    "architectures": ["Qwen2ForCausalLM"],
    "eos_token_id": [151645, 151643],
    "hidden_act": "silu",
    "hidden_size": 896,
    "intermediate_size": 4864,
    "max_position_embeddings": 32768,
    "model_type": "qwen2",
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
MOE = {
    **QWEN3,
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "moe_intermediate_size": 768,
    "norm_topk_prob": True,
    "num_experts": 128,
    "num_experts_per_tok": 8,
}


def test_the_error_names_the_file(tmp_path):
    for change in ({"model_type": "llama"}, {"model_type": ["qwen3"] * 99}, {"hidden_size": 33}, {"head_dim": None}):
        (tmp_path / "config.json").write_text(json.dumps({**QWEN3, **change}))
        with pytest.raises((UnsupportedModelError, CheckpointError)) as error:
            convert(tmp_path, tmp_path / "x.q3e")
        assert str(error.value).startswith(f"{tmp_path / 'config.json'}: ") and len(str(error.value)) < 300
        if "model_type" in change:
            assert "model_type: expected one of qwen3, qwen2, qwen3_moe, qwen3_5, " in str(error.value)


def test_qwen3():
    config = ModelConfig.from_hf(QWEN3)
    assert (config.head_size, config.query_size, config.kv_size) == (128, 2048, 1024)
    assert (config.qk_norm, config.qkv_bias, config.tied_embeddings) == (True, False, True)
    assert (config.context_length, config.rope_theta, config.stop_token_ids) == (40960, 1e6, (151645,))


def test_qwen2():
    config = ModelConfig.from_hf(QWEN2)
    assert (config.head_size, config.qk_norm, config.qkv_bias) == (64, False, True)
    assert config.stop_token_ids == (151645, 151643)


def test_qwen3_moe():
    config = ModelConfig.from_hf(MOE)
    assert config.is_moe
    assert (config.experts, config.experts_per_token, config.expert_ffn_size) == (128, 8, 768)
    assert (config.ffn_size, config.norm_topk_prob, config.qk_norm, config.qkv_bias) == (0, True, True, False)
    plain = {k: v for k, v in MOE.items() if k not in ("decoder_sparse_step", "mlp_only_layers", "norm_topk_prob")}
    assert not ModelConfig.from_hf(plain).norm_topk_prob  # Qwen3MoeConfig's default
    assert not ModelConfig.from_hf(QWEN3).is_moe
    five = {"num_local_experts" if k == "num_experts" else k: v for k, v in MOE.items()}
    assert ModelConfig.from_hf(five) == config


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"num_experts": 0}, UnsupportedModelError, "experts: expected"),
        ({"num_experts": 7}, UnsupportedModelError, "at most the 7 experts, found 8"),
        ({"num_experts": 513}, UnsupportedModelError, "512, found 513"),
        ({"num_experts": None}, CheckpointError, "num_experts: expected an integer"),
        ({"num_experts_per_tok": 0}, UnsupportedModelError, "experts_per_token"),
        ({"num_experts_per_tok": "8"}, CheckpointError, "num_experts_per_tok"),
        ({"moe_intermediate_size": 48}, UnsupportedModelError, "multiple of 32"),
        ({"norm_topk_prob": 1}, CheckpointError, "norm_topk_prob"),
        ({"decoder_sparse_step": 2}, UnsupportedModelError, "decoder_sparse_step: expected 1"),
        ({"decoder_sparse_step": 0}, UnsupportedModelError, "decoder_sparse_step: expected 1"),
        ({"mlp_only_layers": [0, 3]}, UnsupportedModelError, r"mlp_only_layers: expected none .*\[0, 3\]"),
        ({"attention_bias": True}, UnsupportedModelError, "qwen3_moe"),
        ({"architectures": ["Qwen3ForCausalLM"]}, UnsupportedModelError, "Qwen3MoeForCausalLM"),
    ],
    ids=str,
)
def test_mixtures_that_cannot_run(change, error, match):
    with pytest.raises(error, match=match):
        ModelConfig.from_hf(MOE | change)


def test_metadata_of_a_mixture():
    config = ModelConfig.from_hf(MOE)
    metadata = config.to_metadata()
    assert "qwen3edge.feed_forward_length" not in metadata
    metadata["qwen3edge.stop_token_ids"] = list(config.stop_token_ids)
    assert ModelConfig.from_metadata(metadata) == config
    del metadata["qwen3edge.expert_used_count"]
    with pytest.raises(FileFormatError, match="expert_used_count"):
        ModelConfig.from_metadata(metadata)


def test_what_transformers_5_writes():
    nested = {k: v for k, v in QWEN3.items() if k not in ("rope_theta", "rope_scaling", "torch_dtype")}
    nested |= {"rope_parameters": {"rope_theta": 5e6, "rope_type": "default"}, "dtype": "bfloat16"}
    nested |= {"layer_types": ["full_attention"] * 28}
    assert ModelConfig.from_hf(nested).rope_theta == 5e6


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_theta": 10000.0, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}},
        {"rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 1.0, "rope_theta": 5e5}},
        {"rope_theta": 2e4, "rope_scaling": {"rope_type": "default"}, "rope_parameters": {"rope_theta": 3e4}},
        {"rope_theta": 2e4, "rope_scaling": {}, "rope_parameters": {"rope_theta": 3e4}},
        {"rope_theta": 2e4, "rope_parameters": {"rope_type": "default"}},
    ],
    ids=str,
)
def test_rope_theta_twice(changes):
    """What transformers takes, and a line that says so."""
    rope = Qwen3Config(**QWEN3 | changes).rope_parameters
    found = ModelConfig.from_hf(QWEN3 | changes)
    assert found.rope_theta == rope["rope_theta"]
    frequencies = [rope["rope_theta"] ** -(2 * i / 128) for i in range(64)]
    np.testing.assert_allclose(found.inverse_frequencies(), frequencies, rtol=1e-12)
    nested = (changes.get(name, {}) for name in ("rope_scaling", "rope_parameters"))
    others = {place["rope_theta"] for place in (changes, *nested) if "rope_theta" in place} - {found.rope_theta}
    notes = rope_notes(QWEN3 | changes)
    assert len(notes) == bool(others)
    assert all(f"{found.rope_theta:g}" in note and str(min(others)) in note for note in notes)


def test_windows_that_no_layer_has():
    for kind in (QWEN3, QWEN2):
        for changes in (
            {"use_sliding_window": False, "sliding_window": 64, "max_window_layers": 0},
            {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 0},
            {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": kind["num_hidden_layers"]},
        ):
            full = {"full_attention"}
            assert set((Qwen3Config if kind is QWEN3 else Qwen2Config)(**kind | changes).layer_types) == full
            ModelConfig.from_hf(kind | changes)
    # transformers' mixtures do not read max_window_layers
    with pytest.raises(UnsupportedModelError, match="use_sliding_window"):
        ModelConfig.from_hf(MOE | {"use_sliding_window": True, "sliding_window": 64})


def test_metadata_round_trip(tiny_q3e, tiny_model_path):
    file = _core.ModelFile(str(tiny_q3e("int4")))
    config = ModelConfig.from_metadata(file)
    from_hf = ModelConfig.from_hf(json.loads((tiny_model_path / "config.json").read_text()))
    assert {**vars(config), "rms_epsilon": 0, "stop_token_ids": 0} == {
        **vars(from_hf),
        "rms_epsilon": 0,
        "stop_token_ids": 0,
    }
    assert config.rms_epsilon == np.float32(from_hf.rms_epsilon)
    frequencies = file.dequantize("rope.inverse_frequencies")[0]
    np.testing.assert_array_equal(frequencies, np.float32(config.inverse_frequencies()))
    exact = [1 / config.rope_theta ** (2 * i / config.head_size) for i in range(config.head_size // 2)]
    np.testing.assert_array_equal(frequencies, np.array(exact, np.float32))


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "qwen3_next", "architectures": ["Qwen3NextForCausalLM"]},
        {"model_type": "llama"},
        {"model_type": None},
        {"architectures": ["Qwen3ForSequenceClassification"]},
        {"hidden_act": "gelu"},
        {"architectures": ["Qwen2Model"]},
        {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 27},
        {"use_sliding_window": True, "sliding_window": 4096, "num_hidden_layers": 29},
        {"layer_types": ["full_attention", "sliding_attention"]},
        {"attention_bias": True},
        {"rope_theta": 1e308},
        {"rms_norm_eps": 1e300},
        {"rope_scaling": {"rope_type": "dynamic", "factor": 1.0}},
        {"partial_rotary_factor": 0.5},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5}},
        {"num_key_value_heads": 5},
        {"num_key_value_heads": 32},
        {"hidden_size": 1000},
        {"intermediate_size": 33},
        {"head_dim": 48},
        {"head_dim": 512},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": -1},
        {"num_hidden_layers": 10**9},
        {"vocab_size": 2**40},
        {"max_position_embeddings": 0},
        {"rope_theta": 0},
        {"rope_theta": 0.5},
        {"rope_theta": -1e6},
        {"rope_theta": math.nan},
        {"rope_theta": math.inf},
        {"rms_norm_eps": 0.0},
        {"rms_norm_eps": -1e-6},
        {"rms_norm_eps": math.nan},
        {"rms_norm_eps": 1e-60},
        {"eos_token_id": 151936},
    ],
    ids=str,
)
def test_models_that_cannot_run(changes):
    with pytest.raises(UnsupportedModelError, match=r"expected|supported"):
        ModelConfig.from_hf(QWEN3 | changes)


@pytest.mark.parametrize("kind", [QWEN3, QWEN2], ids=["qwen3", "qwen2"])
def test_a_missing_key_and_wrong_types(kind):
    optional = {"architectures", "attention_bias", "bos_token_id", "eos_token_id", "hidden_act", "max_window_layers"}
    optional |= {"rope_scaling", "sliding_window", "tie_word_embeddings", "torch_dtype", "use_sliding_window"}
    for key in kind.keys() - optional:
        with pytest.raises(Qwen3EdgeError, match=key if key != "model_type" else "model_type"):
            ModelConfig.from_hf({k: v for k, v in kind.items() if k != key})
        for value in ("7", None, [], {}, True, 10**400):
            if key == "model_type" or kind[key] == value:
                continue
            with pytest.raises(Qwen3EdgeError):
                ModelConfig.from_hf({**kind, key: value})
    for key in ("tie_word_embeddings", "eos_token_id", "rope_scaling"):
        with pytest.raises(CheckpointError, match=key):
            ModelConfig.from_hf({**kind, key: "yes"})


def test_qwen2_heads_that_do_not_divide():
    with pytest.raises(CheckpointError, match="multiple of 13"):
        ModelConfig.from_hf({**QWEN2, "num_attention_heads": 13})
    with pytest.raises(CheckpointError):
        ModelConfig.from_hf({**QWEN2, "num_attention_heads": 0})


def test_token_ids():
    assert token_ids(None, "x") == ()
    assert token_ids(7, "x") == (7,)
    assert token_ids([7, 8, 7], "x") == (7, 8)
    for value in ("7", [7, None], -1, [1.5], True):
        with pytest.raises(CheckpointError, match="x"):
            token_ids(value, "x")


def test_no_torch_is_needed():
    from subprocess import run  # noqa: PLC0415

    code = "import sys, qwen3edge.convert; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
