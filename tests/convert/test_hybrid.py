"""Qwen3.5's checkpoints: a text model within one with more parts, tensors that a file has otherwise, and GGUF."""

import json
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert import convert, export_compressed, export_gguf
from qwen3edge.convert.changed_tensors import ChangedTensors, restored
from qwen3edge.convert.gguf_export import ExportedTensor
from qwen3edge.convert.names import model_tensors
from qwen3edge.convert.statistics import input_name
from qwen3edge.errors import CheckpointError, UnsupportedModelError
from qwen3edge.evaluate.private_copy import matrices
from tests.checkpoints import run, save, to_q3e
from tests.convert.random_tensors import RandomTensors
from tests.convert.test_compressed_export import decompress, package
from tests.models.hybrid_checkpoints import DENSE, MOE, HybridShape, make_hybrid
from tests.own_weights import OwnWeights

SHAPES = [DENSE[0], DENSE[2], MOE[0]]
LOSSLESS = ["q4g32", "f32"]


@pytest.fixture(params=SHAPES, ids=lambda s: s.name)
def shape(request) -> HybridShape:
    return request.param


def packed(path: Path) -> dict[str, bytes]:
    file = _core.ModelFile(str(path))
    return {tensor["name"]: bytes(file.packed(tensor["name"])) for tensor in file.tensors()}


def keys(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def nested(folder: Path, target: Path) -> Path:
    """The same text model within one that has eyes and drafts."""
    target.mkdir()
    text = keys(folder)
    whole = text["model_type"].removesuffix("_text")
    config = {
        "model_type": whole,
        "architectures": [text["architectures"][0].replace("ForCausalLM", "ForConditionalGeneration")],
        "tie_word_embeddings": text["tie_word_embeddings"],
        "text_config": {**text, "architectures": None},
        "vision_config": {"model_type": f"{whole}_vision"},
    }
    (target / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    found = {name.replace("model.", "model.language_model.", 1) if name.startswith("model.layers") or
             name.startswith(("model.embed", "model.norm")) else name: t for name, t in tensors.items()}  # fmt: skip
    found["model.visual.blocks.0.attn.qkv.weight"] = torch.zeros(6, 2)
    found["mtp.fc.weight"] = torch.zeros(2, 4)
    save_file(found, target / "model.safetensors")
    return target


def test_a_text_model_within_another(shape, tmp_path, seed):
    alone = save(make_hybrid(shape, seed), tmp_path / "alone")
    within = nested(alone, tmp_path / "within")
    report = convert(within, tmp_path / "within.q3e", "int8", allow_missing_tokenizer=True)
    assert packed(tmp_path / "within.q3e") == packed(to_q3e(alone, "int8"))
    note = "2 tensors are left out, which a text model does without: model.visual, mtp.fc"
    assert note in report.notes


def test_tensors_are_changed_and_restored(shape, seed):
    config = ModelConfig.from_hf(json.loads(make_hybrid(shape, seed).config.to_json_string()))
    source = RandomTensors(config, seed)
    changed = ChangedTensors(source, config)
    others = 0
    for tensor in model_tensors(config):
        if tensor.holds_experts:
            continue
        ours = changed.read_rows(tensor.source, 0, tensor.columns if tensor.is_vector else tensor.rows)
        assert ours.shape == changed.shape(tensor.source) == tensor.shape
        step = len(ours) // 3 + 1  # no multiple of a head
        rows = np.concatenate([changed.read_rows(tensor.source, i, i + step) for i in range(0, len(ours), step)])
        assert (rows == ours).all(), tensor.name
        theirs = source.read_rows(tensor.source, 0, 1 << 20).reshape(tensor.source_shape)
        np.testing.assert_allclose(restored(tensor, ours), theirs, rtol=2e-6, atol=1e-6)
        others += not np.array_equal(ours.reshape(-1), theirs.reshape(-1))
    assert others >= 5


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"layer_types": ["full_attention"] + ["linear_attention"] * 5}, UnsupportedModelError, "layer_types"),
        ({"layer_types": ["linear_attention"] * 3}, CheckpointError, "layer_types"),
        ({"attention_bias": True}, UnsupportedModelError, "attention_bias"),
        ({"linear_value_head_dim": 32}, UnsupportedModelError, "linear_value_head_dim"),
        ({"linear_conv_kernel_dim": 3}, UnsupportedModelError, "conv_taps"),
        ({"linear_num_value_heads": 3}, UnsupportedModelError, "key heads"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 2.0}}, UnsupportedModelError, "rotary_size"),
        ({"model_type": "qwen3_next"}, UnsupportedModelError, "model_type"),
    ],
)
def test_other_graphs_are_refused(change, error, text, seed):
    config = json.loads(make_hybrid(DENSE[0], seed).config.to_json_string())
    ModelConfig.from_hf(config)
    with pytest.raises(error, match=text):
        ModelConfig.from_hf({**config, **change})


def test_a_tensor_of_another_shape_is_refused(tmp_path, seed):
    folder = save(make_hybrid(DENSE[0], seed), tmp_path)
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("conv1d.weight"))
    tensors[name] = tensors[name].swapaxes(1, 2).contiguous()  # as MLX has it, whose norms differ as well
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="conv1d"):
        to_q3e(folder, "int8")


def gguf_tensors(model: torch.nn.Module, shape: HybridShape) -> dict[str, np.ndarray]:
    """As llama.cpp's converter writes them: value heads tiled, norms with 1 added, rates for logarithms."""

    def tiled(w: np.ndarray, size: int, axis: int = 0) -> np.ndarray:
        each = shape.value_heads // shape.key_heads
        moved = w.reshape(*w.shape[:axis], shape.key_heads, each, size, *w.shape[axis + 1 :]).swapaxes(axis, axis + 1)
        return moved.reshape(w.shape)

    keys = 2 * shape.key_heads * shape.delta_size

    def behind_keys(w: np.ndarray) -> np.ndarray:
        return np.concatenate([w[:keys], tiled(w[keys:], shape.delta_size)])

    changes = {
        "in_proj_qkv.weight": ("attn_qkv.weight", behind_keys),
        "in_proj_z.weight": ("attn_gate.weight", lambda w: tiled(w, shape.delta_size)),
        "in_proj_a.weight": ("ssm_alpha.weight", lambda w: tiled(w, 1)),
        "in_proj_b.weight": ("ssm_beta.weight", lambda w: tiled(w, 1)),
        "conv1d.weight": ("ssm_conv1d.weight", lambda w: behind_keys(w[:, 0])),
        "A_log": ("ssm_a", lambda w: -np.exp(tiled(w, 1))),
        "dt_bias": ("ssm_dt.bias", lambda w: tiled(w, 1)),
        "linear_attn.norm.weight": ("ssm_norm.weight", lambda w: w),
        "out_proj.weight": ("ssm_out.weight", lambda w: tiled(w, shape.delta_size, 1)),
        "shared_expert_gate.weight": ("ffn_gate_inp_shexp.weight", lambda w: w[0]),
    }
    names = {
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "model.layers": "blk",
        "input_layernorm": "attn_norm", "post_attention_layernorm": "post_attention_norm",
        "self_attn.o_proj": "attn_output", **{f"self_attn.{x}_norm": f"attn_{x}_norm" for x in "qk"},
        **{f"self_attn.{x}_proj": f"attn_{x}" for x in "qkv"},
        **{f"mlp.shared_expert.{x}_proj": f"ffn_{x}_shexp" for x in ("gate", "up", "down")},
        **{f"mlp.{x}_proj": f"ffn_{x}" for x in ("gate", "up", "down")}, "mlp.gate": "ffn_gate_inp",
    }  # fmt: skip
    found = {}
    for name, parameter in model.named_parameters():
        w = parameter.detach().numpy()
        layer = ".".join(name.split(".")[:3]).replace("model.layers", "blk")
        end = next((end for end in changes if name.endswith(end)), None)
        if end is not None:
            found[f"{layer}.{changes[end][0]}"] = changes[end][1](w)
        elif name.endswith("experts.gate_up_proj"):
            found[f"{layer}.ffn_gate_exps.weight"], found[f"{layer}.ffn_up_exps.weight"] = np.split(w, 2, axis=1)
        elif name.endswith("experts.down_proj"):
            found[f"{layer}.ffn_down_exps.weight"] = w
        else:
            stored = name
            for old, new in names.items():
                stored = stored.replace(old, new)
            found[stored] = w + np.float32(1) if w.ndim == 1 else w
    return found


def write_gguf(path: Path, shape: HybridShape, tensors: dict[str, np.ndarray], drafts: int = 0) -> None:
    """drafts: layers of a head that drafts tokens, behind the model's."""
    writer = gguf.GGUFWriter(path, "qwen35moe" if shape.experts else "qwen35")
    writer.add_block_count(shape.layers + drafts)
    if drafts:
        writer.add_uint32(f"{writer.arch}.nextn_predict_layers", drafts)
        tensors = {**tensors, f"blk.{shape.layers}.nextn.eh_proj.weight": np.ones((4, 8), np.float32)}
    writer.add_context_length(16384)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(shape.theta)
    writer.add_rope_dimension_count(int(shape.head_dim * shape.rotated))
    writer.add_ssm_conv_kernel(4)
    writer.add_ssm_state_size(shape.delta_size)
    writer.add_ssm_group_count(shape.key_heads)
    writer.add_ssm_time_step_rank(shape.value_heads)
    writer.add_ssm_inner_size(shape.value_heads * shape.delta_size)
    writer.add_uint32(f"{writer.arch}.full_attention_interval", shape.interval)
    if shape.experts:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(shape.top)
        writer.add_expert_feed_forward_length(shape.ffn)
        writer.add_expert_shared_feed_forward_length(shape.shared_ffn)
    for name, values in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_gguf_as_llama_cpp_writes_it(shape, tmp_path, seed):
    """The same file as from the checkpoint, and the same logits."""
    model = make_hybrid(shape, seed)
    write_gguf(tmp_path / "m.gguf", shape, gguf_tensors(model, shape), drafts=1)
    report = convert(tmp_path / "m.gguf", tmp_path / "m.q3e", "f32", allow_missing_tokenizer=True)
    assert "1 tensors are left out: a layer that drafts tokens" in report.notes
    ours, theirs = to_q3e(save(model, tmp_path / "hf"), "f32"), tmp_path / "m.q3e"
    found, expected = (_core.ModelFile(str(path)) for path in (theirs, ours))
    assert replace(ModelConfig.from_metadata(found), stop_token_ids=(1,)) == ModelConfig.from_metadata(expected)
    for name, bytes_there in packed(ours).items():
        assert np.abs(found.dequantize(name) - expected.dequantize(name)).max() <= 2e-6, name
        assert "ssm_a" in name or "norm" in name or bytes_there == packed(theirs)[name], name
    tokens = np.random.default_rng(seed).integers(0, shape.vocab, 20)
    with torch.no_grad():
        logits = model(torch.from_numpy(tokens)[None], use_cache=False).logits[0].numpy()
    engine = _core.Engine(found, context=64, threads=1, kv="f32")
    assert np.median(np.abs(run(engine, tokens) - logits)) <= 1e-4 * np.sqrt((logits**2).mean())


@pytest.mark.parametrize("quant", LOSSLESS)
def test_gguf_there_and_back_is_the_same_file(shape, quant, tmp_path, seed):
    source = to_q3e(save(make_hybrid(shape, seed), tmp_path / "hf"), quant)
    export_gguf(source, tmp_path / "m.gguf", threads=1)
    back = None if quant.startswith("q") else quant
    convert(tmp_path / "m.gguf", tmp_path / "back.q3e", back, allow_missing_tokenizer=True)
    assert packed(tmp_path / "back.q3e") == packed(source)
    a, b = (ModelConfig.from_metadata(_core.ModelFile(str(path))) for path in (source, tmp_path / "back.q3e"))
    assert replace(a, stop_token_ids=()) == b


def test_an_export_is_what_llama_cpp_reads(shape, tmp_path, seed):
    model = make_hybrid(shape, seed)
    export_gguf(to_q3e(save(model, tmp_path / "hf"), "f32"), tmp_path / "m.gguf")
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    found = {t.name: t.data.reshape(t.shape[::-1].tolist()) for t in reader.tensors}
    expected = gguf_tensors(model, shape)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].shape == values.shape, name
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-6, err_msg=name)
    arch = "qwen35moe" if shape.experts else "qwen35"
    sections = reader.fields[f"{arch}.rope.dimension_sections"].contents()
    assert sum(sections) == int(shape.head_dim * shape.rotated) // 2
    assert reader.fields[f"{arch}.ssm.inner_size"].contents() == shape.value_heads * shape.delta_size


def test_what_calibration_sees(shape, tmp_path, seed):
    """The input of each matrix that is quantized, under the name that its statistics have."""
    file = _core.ModelFile(str(to_q3e(save(make_hybrid(shape, seed), tmp_path), "f32")))
    engine, seen = _core.Engine(file, context=16, threads=1), {}
    engine.observe(lambda name, layer, expert, values: seen.setdefault((name, layer), values.shape[1]))
    run(engine, np.arange(9))
    config = ModelConfig.from_metadata(file)
    for name, tensor in matrices(file).items():
        kind = input_name(name).split(".")
        if name.startswith("blk."):
            assert seen[kind[2], int(kind[1])] == tensor["columns"], name
    assert matrices(file).keys() == {
        t.name for t in model_tensors(config) if not t.is_vector and t.required_format is None
    }


def test_an_adapter_with_a_gguf_file_is_refused(tmp_path, seed):
    shape = DENSE[2]
    write_gguf(tmp_path / "m.gguf", shape, gguf_tensors(make_hybrid(shape, seed), shape))
    with pytest.raises(CheckpointError, match="an adapter with a GGUF file"):
        convert(tmp_path / "m.gguf", tmp_path / "m.q3e", lora=tmp_path, allow_missing_tokenizer=True)


def decompressed(folder: Path) -> dict[str, np.ndarray]:
    """Every weight of a folder of compressed-tensors, by that package."""
    stored = load_file(folder / "model.safetensors")
    groups = keys(folder).get("quantization_config", {}).get("config_groups", {}).values()
    found = {}
    for name, tensor in stored.items():
        module, _, kind = name.rpartition(".")
        if kind == "weight_packed":
            state = {key.removeprefix(f"{module}."): t for key, t in stored.items() if key.startswith(f"{module}.")}
            (group,) = (group for group in groups if group["targets"] == ["Linear"] or module in group["targets"])
            found[f"{module}.weight"] = decompress(state, group["weights"])
        elif not kind.startswith("weight_"):
            found[name] = tensor.float().numpy()
    return found


def compare_with_file(path: Path, found: dict[str, np.ndarray], tensors: tuple[ExportedTensor, ...]) -> None:
    """Every weight is the file's, heads and norms as checkpoints have them."""
    file = _core.ModelFile(str(path))
    config, own = ModelConfig.from_metadata(file), OwnWeights(file)
    stored = {tensor.name: tensor for tensor in tensors}
    for tensor in model_tensors(config):
        if tensor.holds_experts:
            continue
        expected = restored(tensor, own.dequantize(tensor.name))
        weight = found[tensor.source].reshape(expected.shape)
        export = stored[tensor.source.removesuffix(".weight")]
        if export.exact:
            # A logarithm is right but for its last bit.
            np.testing.assert_allclose(weight, expected, rtol=2e-7 if tensor.name.endswith("ssm_a") else 0, atol=0)
        elif export.stored == "int4 in groups of 32 with zero points":
            compare_groups(weight.reshape(-1, 32), expected.reshape(-1, 32), tensor.name)
        else:
            assert np.abs(weight - expected).max() <= 2**-7 * np.abs(expected).max(), tensor.name


def compare_groups(weight: np.ndarray, expected: np.ndarray, name: str) -> None:
    """The 16 levels of least squared error [groups, 32], which is at most that of levels over the whole range and 0.

    There no weight is off by more than half a step, but for a scale in float16, off by 2^-11 on up to 15 steps. A
    single weight has no such bound: an end of the range is given up where the other 31 weights gain by it.
    """
    step = (expected.max(1).clip(min=0) - expected.min(1).clip(max=0)) / 15
    rms = np.sqrt(((weight - expected) ** 2).mean(1))
    assert (rms <= (0.5 + 15 * 2**-11) * step).all(), name


@pytest.mark.parametrize("quant", ["q4g32", "q4g128", "int4", "int8", "q4a32", "f32"])
def test_an_export_to_compressed_tensors_has_the_weights_of_the_file(shape, quant, tmp_path, seed):
    path = to_q3e(save(make_hybrid(shape, seed), tmp_path / "hf"), quant)
    report = export_compressed(path, tmp_path / "out", types={"q4a32": "int4"} if quant == "q4a32" else None)
    compare_with_file(path, decompressed(tmp_path / "out"), report.tensors)
    assert any("with zero points" in tensor.stored for tensor in report.tensors) == (quant == "q4a32")
    ignored = keys(tmp_path / "out").get("quantization_config", {"ignore": []})["ignore"]
    assert quant == "f32" or "model.layers.0.linear_attn.in_proj_a" in ignored
    config = ModelConfig.from_metadata(_core.ModelFile(str(path)))
    assert ModelConfig.from_hf(keys(tmp_path / "out")) == config


@pytest.mark.parametrize("quant", ["q4g32", "int8"])
@pytest.mark.parametrize("shape", [DENSE[0], DENSE[2]], ids=lambda s: s.name)
def test_transformers_loads_an_export(shape, quant, tmp_path, seed):
    """Not of experts, which it keeps in one tensor and compressed-tensors apart."""
    package()
    path = to_q3e(save(make_hybrid(shape, seed), tmp_path / "hf"), quant)
    report = export_compressed(path, tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        model(torch.tensor([[1, 2, 3]]))  # decompresses
    compare_with_file(path, {name: weight.numpy() for name, weight in model.state_dict().items()}, report.tensors)


def test_an_unquantized_export_comes_back_as_the_same_file(shape, tmp_path, seed):
    source = to_q3e(save(make_hybrid(shape, seed), tmp_path / "hf"), "f32")
    export_compressed(source, tmp_path / "out")
    convert(tmp_path / "out", tmp_path / "back.q3e", "f32", allow_missing_tokenizer=True)
    back = packed(tmp_path / "back.q3e")
    for name, values in packed(source).items():
        if name.endswith("ssm_a"):  # a logarithm in between
            np.testing.assert_allclose(np.frombuffer(back[name], "<f4"), np.frombuffer(values, "<f4"), rtol=5e-7)
        else:
            assert back[name] == values, name
