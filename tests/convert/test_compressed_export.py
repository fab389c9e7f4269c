"""`.q3e` files become folders in compressed-tensors' format: read back by that package, by transformers and by us."""

import json
import os

import numpy as np
import pytest
import safetensors.torch
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert import Recipe, Rule, convert, export_compressed
from qwen3edge.convert.names import model_tensors
from qwen3edge.errors import CheckpointError, RequestError
from qwen3edge.formats import blocks
from qwen3edge.formats.pack_quantized import pack_rows, pack_zeros, scheme_of
from tests.convert.small_checkpoint import CONFIG, QWEN2, random_tensors, write
from tests.convert.test_gguf_export import MOE, moe_tensors
from tests.own_weights import OwnWeights
from tests.reference import blocks as reference

MATRICES = [name for name in blocks.BLOCK_FORMATS if name != "vector"]
QUANTIZED = [name for name in MATRICES if name not in ("f32", "bf16")]


def package():
    return pytest.importorskip("compressed_tensors", reason="the compressed-tensors package is not installed")


def decompress(state: dict[str, torch.Tensor], weights: dict) -> np.ndarray:
    """A module's weight, by the package. weights: as in config_groups."""
    package()
    from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor  # noqa: PLC0415
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme  # noqa: PLC0415

    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights))
    state = state | {"weight_scale": state["weight_scale"].float()}
    return PackedQuantizationCompressor.decompress(state, scheme)["weight"].numpy()


ROWS = [
    (name, kind, columns)
    for name in QUANTIZED
    for kind in ("int4", "int8")
    for columns in (32, 128, 224, 384)
    if reference.holds_columns(blocks.block_format(name), columns)
    and columns % scheme_of(name, kind, columns).group == 0
]


@pytest.mark.parametrize(("name", "kind", "columns"), ROWS)
def test_rows(name, kind, columns, seed):
    rows = 48
    weights = (np.random.default_rng(seed).standard_normal((rows, columns)) * 0.05).astype(np.float32)
    packed = _core.quantize(name, weights)
    scheme = scheme_of(name, kind, columns)
    found = pack_rows(name, packed.reshape(-1, _core.packed_nbytes(name, 16, columns)), columns, scheme)
    state = {
        "weight_packed": torch.from_numpy(found.words),
        "weight_scale": torch.from_numpy(found.scale),
        "weight_shape": torch.tensor([rows, columns]),
    }
    assert (found.zero is None) == scheme.symmetric
    if found.zero is not None:
        state["weight_zero_point"] = torch.from_numpy(pack_zeros(found.zero, scheme))
    arguments = {"num_bits": scheme.bits, "symmetric": scheme.symmetric, "strategy": "group"}
    weight = decompress(state, {**arguments, "group_size": scheme.group})
    stored = reference.dequantize(name, packed, rows, columns)
    if scheme.exact:
        np.testing.assert_array_equal(weight, stored)
    error = np.sqrt(((weight - stored) ** 2).mean()) / stored.std()
    assert error <= {4: 0.12, 8: 0.006}[scheme.bits]
    assert scheme.exact == (name.startswith("q4g") or (kind == "int8" and not name.startswith("q4a")))


@pytest.mark.parametrize("config", [CONFIG, QWEN2], ids=["qwen3", "qwen2"])
@pytest.mark.parametrize("quant", ["q4g32", "int4", "int8", "q4a32", "bf16"])
def test_transformers_loads_it(config, quant, tmp_path, seed):
    """With every weight of the file, in float32."""
    package()
    folder = write(tmp_path / "hf", config, random_tensors(config, seed))
    convert(folder, tmp_path / "m.q3e", quant, allow_missing_tokenizer=True)
    report = export_compressed(tmp_path / "m.q3e", tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        model(torch.tensor([[1, 2, 3]]))  # decompresses
    parameters = {name: parameter.numpy() for name, parameter in model.state_dict().items()}
    file = _core.ModelFile(str(tmp_path / "m.q3e"))
    exact = {tensor.name: tensor.exact for tensor in report.tensors}
    for tensor in model_tensors(ModelConfig.from_metadata(file)):
        found, stored = parameters[tensor.source], OwnWeights(file).dequantize(tensor.name).reshape(tensor.shape)
        if exact[tensor.source.removesuffix(".weight")]:
            np.testing.assert_array_equal(found, stored)
        assert np.abs(found - stored).max() <= 2**-7 * np.abs(stored).max()


def test_experts_are_written_one_by_one(tmp_path, seed):
    """As Hugging Face has them; each is what our file has."""
    folder = write(tmp_path / "hf", MOE, moe_tensors(MOE, seed))
    convert(folder, tmp_path / "m.q3e", "q4g32", allow_missing_tokenizer=True)
    report = export_compressed(tmp_path / "m.q3e", tmp_path / "out")
    stored = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    quantization = config["quantization_config"]
    assert "model.layers.0.mlp.gate" in quantization["ignore"]
    assert config["num_experts"] == MOE["num_experts"]
    (group,) = quantization["config_groups"].values()
    file = _core.ModelFile(str(tmp_path / "m.q3e"))
    names = {name.removesuffix(".weight_packed") for name in stored if name.endswith("weight_packed")}
    assert len([name for name in names if ".experts." in name]) == 2 * 4 * 3
    gate_up = file.dequantize("blk.1.ffn_gate_up_exps.weight").reshape(4, -1, 2, 16, 64)
    down = file.dequantize("blk.1.ffn_down_exps.weight").reshape(4, 64, 64)
    for expert in range(4):
        expected = {"gate": gate_up[expert, :, 0].reshape(-1, 64), "up": gate_up[expert, :, 1].reshape(-1, 64)}
        for projection, weight in {**expected, "down": down[expert]}.items():
            name = f"model.layers.1.mlp.experts.{expert}.{projection}_proj"
            state = {key: stored[f"{name}.{key}"] for key in ("weight_packed", "weight_scale", "weight_shape")}
            np.testing.assert_array_equal(decompress(state, group["weights"]), weight)
    assert all(tensor.exact for tensor in report.tensors if ".experts." in tensor.name)


def test_mixed_recipes_have_a_group_each(tmp_path, seed):
    rules = (Rule("*attn_v*", "bf16"), Rule("*ffn_down*", "q8"), Rule("*", "q4g32"))
    folder = write(tmp_path / "hf", CONFIG, random_tensors(CONFIG, seed))
    convert(folder, tmp_path / "m.q3e", Recipe("mine", rules), allow_missing_tokenizer=True)
    export_compressed(tmp_path / "m.q3e", tmp_path / "out")
    quantization = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    groups = {group["weights"]["num_bits"]: group for group in quantization["config_groups"].values()}
    assert groups[8]["targets"] == [f"model.layers.{n}.mlp.down_proj" for n in range(2)]
    assert "model.layers.1.self_attn.q_proj" in groups[4]["targets"]
    assert quantization["ignore"] == ["lm_head", *(f"model.layers.{n}.self_attn.v_proj" for n in range(2))]
    package()
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")


def test_other_types(tmp_path, seed):
    folder = write(tmp_path / "hf", CONFIG, random_tensors(CONFIG, seed))
    convert(folder, tmp_path / "m.q3e", "q4z32", allow_missing_tokenizer=True)
    report = export_compressed(tmp_path / "m.q3e", tmp_path / "out", types={"q4z32": "int4"})
    assert any("int4 in groups of 32 with zero points" in note for note in report.notes)
    stored = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    assert stored["model.layers.0.self_attn.q_proj.weight_zero_point"].shape == (16, 2)
    for types, match in (({"q4z32": "int5"}, "int5"), ({"q5": "int4"}, "q5")):
        with pytest.raises(RequestError, match=match):
            export_compressed(tmp_path / "m.q3e", tmp_path / "new", types=types)
    assert not (tmp_path / "new").exists()


def test_the_tiny_models_text_comes_back(tiny_q3e, tiny_model_path, tmp_path):
    source = tiny_q3e("bf16")
    export_compressed(source, tmp_path / "out")
    ours, theirs = (AutoTokenizer.from_pretrained(path) for path in (tmp_path / "out", tiny_model_path))
    for text in ("What is 47 + 38? <|im_end|>\n\n", "é 中文 \u00a0 don't  x", "<think>a</think>"):
        assert ours(text)["input_ids"] == theirs(text)["input_ids"]
        assert ours.decode(ours(text)["input_ids"]) == theirs.decode(theirs(text)["input_ids"])
    chat = [{"role": "user", "content": "hi"}]
    render = {"tokenize": False, "add_generation_prompt": True}
    assert ours.apply_chat_template(chat, **render) == theirs.apply_chat_template(chat, **render)
    convert(tmp_path / "out", tmp_path / "back.q3e", "bf16")
    a, b = _core.ModelFile(str(source)), _core.ModelFile(str(tmp_path / "back.q3e"))
    assert {key for key in a.keys() if a.get(key) != b.get(key)} <= {"general.name"}  # noqa: SIM118
    for tensor in a.tensors():
        assert bytes(a.packed(tensor["name"])) == bytes(b.packed(tensor["name"]))


def test_shards(tiny_q3e, tmp_path, monkeypatch):
    export_compressed(tiny_q3e("int8"), tmp_path / "one")
    monkeypatch.setattr("qwen3edge.convert.compressed_export._SHARD_BYTES", 1 << 20)
    monkeypatch.setattr("qwen3edge.convert.panel_view._SLICE_BYTES", 1 << 14)
    export_compressed(tiny_q3e("int8"), tmp_path / "many", threads=3)
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    shards = sorted(set(index["weight_map"].values()))
    assert len(shards) > 2
    whole = safetensors.torch.load_file(tmp_path / "one" / "model.safetensors")
    assert set(index["weight_map"]) == set(whole)
    for shard in shards:
        for name, tensor in safetensors.torch.load_file(tmp_path / "many" / shard).items():
            assert index["weight_map"][name] == shard
            assert torch.equal(tensor, whole[name])


def test_targets_that_exist_and_failures(tiny_q3e, tmp_path, monkeypatch):
    (tmp_path / "old").mkdir()
    with pytest.raises(CheckpointError, match="exists"):
        export_compressed(tiny_q3e("int4"), tmp_path / "old")
    with pytest.raises(CheckpointError, match="directory"):
        export_compressed(tiny_q3e("int4"), tmp_path / "a" / "b")

    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr("qwen3edge.convert.compressed_export.pack_rows", fail)
    with pytest.raises(OSError, match="full"):
        export_compressed(tiny_q3e("int4"), tmp_path / "new")
    assert os.listdir(tmp_path) == ["old"]
