"""The converter's table of a model's tensors against the core's, which every file is held against when it is opened."""

from itertools import product

import pytest

from qwen3edge import _core
from qwen3edge.architectures import ARCHITECTURES
from qwen3edge.config import ModelConfig, keys_of
from qwen3edge.convert.checkpoint import write_model
from qwen3edge.convert.names import model_tensors
from qwen3edge.convert.recipe import find_recipe
from tests.convert.random_tensors import RandomTensors

SIZES = {  # no two widths alike, so that none can stand for another
    "vocab_size": 80,
    "hidden_size": 96,
    "heads": 4,
    "kv_heads": 2,
    "head_size": 32,
    "ffn_size": 160,
    "experts": 5,
    "expert_ffn_size": 224,
    "shared_ffn_size": 288,
    "rotary_size": 12,
    "conv_taps": 4,
    "delta_value_heads": 6,
}
SWITCHES = ("tied_embeddings", "qk_norm", "qkv_bias")


@pytest.mark.parametrize("switches", list(product((False, True), repeat=3)), ids=str)
@pytest.mark.parametrize("architecture", list(ARCHITECTURES.values()), ids=lambda a: a.model_type)
def test_the_core_takes_what_the_converter_writes(tmp_path, seed, architecture, switches):
    numbers = {
        name: SIZES.get(name, 2 * key.unit) if kind is int else kind(1)
        for name, (kind, key) in keys_of(architecture).items()
    }
    chosen = dict(zip(SWITCHES, switches, strict=True))
    if "attention" not in architecture.blocks:  # a gated one knows no others
        chosen |= {name: architecture.constants[name] for name in SWITCHES[1:]}
    config = ModelConfig(architecture.model_type, **{**numbers, **chosen})
    write_model(RandomTensors(config, seed), config, {}, tmp_path / "m.q3e", find_recipe("q8g32"))
    file = _core.ModelFile(str(tmp_path / "m.q3e"))  # refuses a tensor that is absent, unexpected or of another shape
    expected = [(tensor.name, tensor.rows, tensor.columns) for tensor in model_tensors(config)]
    expected.append(("rope.inverse_frequencies", 1, config.rotated // 2))
    assert [(tensor["name"], tensor["rows"], tensor["columns"]) for tensor in file.tensors()] == expected
    assert ModelConfig.from_metadata(file) == config
