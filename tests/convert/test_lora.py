"""PEFT adapters merged while converting: against the sum by hand, and against PEFT where it is installed."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from qwen3edge import _core
from qwen3edge.convert import convert
from qwen3edge.errors import CheckpointError, MissingShardError, UnsupportedModelError
from qwen3edge.formats.blocks import as_float32
from tests.checkpoints import SHAPES, make_model, save
from tests.convert.lora_files import MODULES, halves, write_adapter
from tests.convert.random_gguf import Case, write_gguf
from tests.convert.small_checkpoint import CONFIG, random_tensors, write
from tests.formats.safetensors_bytes import encode


@pytest.fixture
def base(tmp_path, seed):
    """A folder and its tensors."""
    tensors = random_tensors(CONFIG, seed)
    return write(tmp_path / "hf", CONFIG, tensors), tensors


def merged_file(base, adapter, quant="f32"):
    target = base[0].parent / "merged.q3e"
    report = convert(base[0], target, quant, lora=adapter, allow_missing_tokenizer=True)
    return _core.ModelFile(str(target)), report


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint16])
@pytest.mark.parametrize(
    ("config", "scales"),
    [
        ({}, (2, 2)),
        ({"use_rslora": True}, (4, 4)),
        ({"alpha_pattern": {"q_proj": 2}}, (0.5, 2)),
        ({"alpha_pattern": {"layers.1.mlp.down_proj": 1}, "use_rslora": True}, (4, 0.5)),
    ],
)
def test_the_sum_by_hand(base, tmp_path, seed, config, scales, dtype):
    adapter = halves(base[1], seed, dtype=dtype)
    file, report = merged_file(base, write_adapter(tmp_path / "lora", adapter, config))
    names = {"model.layers.0.self_attn.q_proj": "blk.0.attn_q", "model.layers.1.mlp.down_proj": "blk.1.ffn_down"}
    for (module, name), scale in zip(names.items(), scales, strict=True):
        a, b = (as_float32(adapter[f"base_model.model.{module}.lora_{half}.weight"]) for half in "AB")
        expected = base[1][f"{module}.weight"].astype(np.float64) + scale * (b.astype(np.float64) @ a)
        np.testing.assert_allclose(file.dequantize(f"{name}.weight"), expected, rtol=0, atol=1e-6)
    untouched = base[1]["model.layers.0.self_attn.k_proj.weight"]
    np.testing.assert_array_equal(file.dequantize("blk.0.attn_k.weight"), untouched)
    assert any("2 matrices" in note and "lora" in note for note in report.notes)


def test_ranks_may_differ(base, tmp_path, seed):
    adapter = halves(base[1], seed, MODULES[:1], 4) | halves(base[1], seed, MODULES[1:], 2)
    file, _ = merged_file(base, write_adapter(tmp_path / "lora", adapter, {"rank_pattern": {"down_proj": 2}}))
    a, b = (adapter[f"base_model.model.{MODULES[1]}.lora_{half}.weight"] for half in "AB")
    expected = base[1][f"{MODULES[1]}.weight"] + 4 * (b @ a)
    np.testing.assert_allclose(file.dequantize("blk.1.ffn_down.weight"), expected, rtol=0, atol=1e-6)


def test_what_is_quantized_is_the_sum(base, tmp_path, seed, monkeypatch):
    """Slice by slice, on threads."""
    monkeypatch.setattr("qwen3edge.convert.quantize.SLICE_BYTES", 1)
    adapter = write_adapter(tmp_path / "lora", halves(base[1], seed))
    file, _ = merged_file(base, adapter, "q4z32")
    whole, _ = merged_file(base, adapter)
    for name in ("blk.0.attn_q.weight", "blk.1.ffn_down.weight"):
        np.testing.assert_array_equal(file.packed(name), _core.quantize("q4z32", whole.dequantize(name)))


def test_against_peft(tmp_path, seed):
    peft = pytest.importorskip("peft", reason="the peft package is not installed")
    folder = save(make_model(SHAPES[2], seed), tmp_path / "hf")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    lora = peft.LoraConfig(r=8, lora_alpha=5, target_modules=["q_proj", "v_proj", "up_proj"], init_lora_weights=False)
    with_adapter = peft.get_peft_model(model, lora)
    with_adapter.save_pretrained(tmp_path / "lora")
    convert(folder, tmp_path / "m.q3e", "f32", lora=tmp_path / "lora", allow_missing_tokenizer=True)
    file = _core.ModelFile(str(tmp_path / "m.q3e"))
    expected = dict(with_adapter.merge_and_unload().named_parameters())
    for ours, theirs in (("attn_q", "self_attn.q_proj"), ("ffn_up", "mlp.up_proj"), ("attn_k", "self_attn.k_proj")):
        weight = expected[f"model.layers.1.{theirs}.weight"].detach().numpy()
        np.testing.assert_allclose(file.dequantize(f"blk.1.{ours}.weight"), weight, rtol=0, atol=1e-5)


def added(adapter, module, scale):
    a, b = (adapter[f"base_model.model.{module}.lora_{half}.weight"].astype(np.float64) for half in "AB")
    return scale * (b @ a)


def test_on_a_gguf_file(tmp_path, seed):
    """What has no update is repacked bit by bit; what has one is the sum, in the format that holds the file's type."""
    model = write_gguf(tmp_path / "m.gguf", Case("qwen3"), seed, lambda name: "Q4_0" if "attn" in name else "Q8_0")
    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}
    adapter = halves(weights, seed)
    write_adapter(tmp_path / "lora", adapter)
    names = {"model.layers.0.self_attn.q_proj": "blk.0.attn_q", "model.layers.1.mlp.down_proj": "blk.1.ffn_down"}
    files = {}
    for quant in (None, "f32"):
        target = tmp_path / f"{quant}.q3e"
        report = convert(tmp_path / "m.gguf", target, quant, lora=tmp_path / "lora")
        files[quant] = _core.ModelFile(str(target))
        assert any("2 matrices" in note and "lora" in note for note in report.notes)
        assert sum("1 matrices" in note and "adapter's updates" in note for note in report.notes) == 2
    for module, name in names.items():
        expected = weights[f"{module}.weight"] + added(adapter, module, 2)
        np.testing.assert_allclose(files["f32"].dequantize(f"{name}.weight"), expected, rtol=0, atol=1e-5)
    kept = {t["name"]: t["format"] for t in files[None].tensors()}
    assert (kept["blk.0.attn_q.weight"], kept["blk.1.ffn_down.weight"]) == ("q4g32", "q8g32")
    for name, block_format in (("blk.0.attn_q.weight", "q4g32"), ("blk.1.ffn_down.weight", "q8g32")):
        np.testing.assert_array_equal(
            files[None].packed(name), _core.quantize(block_format, files["f32"].dequantize(name))
        )
    untouched = weights["model.layers.0.self_attn.k_proj.weight"]
    np.testing.assert_array_equal(files[None].dequantize("blk.0.attn_k.weight"), untouched)


@pytest.mark.parametrize("kind", ["gguf", "fused", "apart"])
def test_experts(kind, tmp_path, seed, monkeypatch):
    """An expert's update reaches its rows of the stacked matrices, whatever the slices."""
    monkeypatch.setattr("qwen3edge.convert.quantize.SLICE_BYTES", 1 << 15)
    case = Case("qwen3moe")
    model = write_gguf(tmp_path / "m.gguf", case, seed, lambda _: "F32")
    if kind == "gguf":
        source = tmp_path / "m.gguf"
    else:
        source = save(model, tmp_path / "hf")  # transformers writes experts apart
        if kind == "fused":
            tensors = {name: p.detach().numpy() for name, p in model.named_parameters() if name != "lm_head.weight"}
            (source / "model.safetensors").write_bytes(encode(tensors))
    experts = dict(model.named_parameters())
    gate_up, down = (
        experts[f"model.layers.1.mlp.experts.{part}_proj"].detach().numpy().copy() for part in ("gate_up", "down")
    )
    modules = {
        f"model.layers.1.mlp.experts.{e}.{part}_proj": view
        for e, part, view in (
            (0, "gate", gate_up[0, :256]),
            (3, "gate", gate_up[3, :256]),
            (3, "up", gate_up[3, 256:]),
            (2, "down", down[2]),
        )
    }
    adapter = halves({f"{module}.weight": view for module, view in modules.items()}, seed, list(modules))
    write_adapter(tmp_path / "lora", adapter)
    convert(source, tmp_path / "m.q3e", "f32", lora=tmp_path / "lora", allow_missing_tokenizer=True)
    for module, view in modules.items():
        np.add(view, added(adapter, module, 2), out=view)
    file = _core.ModelFile(str(tmp_path / "m.q3e"))
    found = file.dequantize("blk.1.ffn_down_exps.weight").reshape(down.shape)
    np.testing.assert_allclose(found, down, rtol=0, atol=1e-5)
    panels = file.dequantize("blk.1.ffn_gate_up_exps.weight").reshape(case.experts, -1, 2, 16, case.hidden)
    found = np.moveaxis(panels, 2, 1).reshape(gate_up.shape)
    np.testing.assert_allclose(found, gate_up, rtol=0, atol=1e-5)


def test_experts_that_are_none(tmp_path, seed):
    write_gguf(tmp_path / "m.gguf", Case("qwen3moe"), seed, lambda _: "Q8_0")
    shapes = {"16.gate": (256, 256), "0.side": (256, 256), "0.down": (256, 128)}
    for name, shape in shapes.items():
        module = f"model.layers.0.mlp.experts.{name}_proj"
        write_adapter(tmp_path / "lora", halves({f"{module}.weight": np.zeros(shape)}, seed, [module]))
        with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
            convert(tmp_path / "m.gguf", tmp_path / "m.q3e", lora=tmp_path / "lora")
    assert not list(tmp_path.glob("*q3e*"))


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"use_dora": True}, "DoRA"),
        ({"lora_bias": True}, "biases"),
        ({"alpha_pattern": {r"layers\.0.*": 2}}, "alpha_pattern"),
    ],
)
def test_adapters_that_are_no_plain_lora(base, tmp_path, seed, config, match):
    adapter = write_adapter(tmp_path / "lora", halves(base[1], seed), config)
    with pytest.raises(UnsupportedModelError, match=match):
        merged_file(base, adapter)
    assert not list(tmp_path.glob("*q3e*"))


def test_tensors_that_are_no_plain_lora(base, tmp_path, seed):
    good = halves(base[1], seed)
    dora = {f"base_model.model.{MODULES[0]}.lora_magnitude_vector": np.ones(128, np.float32)}
    with pytest.raises(UnsupportedModelError, match="magnitude"):
        merged_file(base, write_adapter(tmp_path / "lora", good | dora))
    embedding = {"base_model.model.model.embed_tokens.lora_embedding_A": np.ones((4, 50), np.float32)}
    with pytest.raises(CheckpointError, match="one of them"):
        merged_file(base, write_adapter(tmp_path / "lora", good | embedding))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.pop(next(iter(t))), "one of them"),
        (lambda t: t.clear(), "found none"),
        (lambda t: t.update(halves({"lm_head.weight": np.zeros((51, 64))}, 0, ["lm_head"])), "lm_head"),
        (lambda t: t.update(halves({"model.layers.9.x.weight": np.zeros((64, 64))}, 0, ["model.layers.9.x"])), r"9\.x"),
        (lambda t: t.update({k: v[:, :-1].copy() for k, v in t.items() if "lora_A" in k}), "rank"),
        (lambda t: t.update({k: v[:-1].copy() for k, v in t.items() if "lora_B" in k}), "rank"),
        (lambda t: t.update({k: v[:-1].copy() for k, v in t.items() if "lora_A" in k}), "rank"),
        (lambda t: t.update({k: v * np.nan for k, v in t.items() if "lora_A" in k}), "nan"),
    ],
)
def test_adapters_of_another_model(base, tmp_path, seed, change, match):
    tensors = halves(base[1], seed)
    change(tensors)
    with pytest.raises(CheckpointError, match=match):
        merged_file(base, write_adapter(tmp_path / "lora", tensors))


@pytest.mark.parametrize("config", [{"lora_alpha": "8"}, {"lora_alpha": None}, {"use_rslora": "yes"}])
def test_configs_that_are_wrong(base, tmp_path, seed, config):
    with pytest.raises(CheckpointError):
        merged_file(base, write_adapter(tmp_path / "lora", halves(base[1], seed), config))


def test_folders_that_are_none(base, tmp_path, seed, tiny_q3e):
    with pytest.raises(CheckpointError, match="adapter_config"):
        merged_file(base, tmp_path / "absent")
    adapter = write_adapter(tmp_path / "lora", halves(base[1], seed))
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(MissingShardError, match="adapter_model"):
        merged_file(base, adapter)
    with pytest.raises(CheckpointError, match=r"is a \.q3e model already"):
        convert(tiny_q3e("int4"), tmp_path / "m.q3e", lora=adapter)
