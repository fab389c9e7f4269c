"""`.q3e` files become GGUF files: read back by the gguf package, and by the converter."""

import json
import os

import gguf
import numpy as np
import pytest

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert import convert, export_gguf
from qwen3edge.convert.experts import checkpoint_shapes
from qwen3edge.errors import CheckpointError, FileFormatError, RequestError, UnsupportedModelError
from qwen3edge.formats import gguf_blocks
from tests.convert.small_checkpoint import CONFIG, QWEN2, random_tensors, write
from tests.own_weights import OwnWeights

LOSSLESS = ["q4g32", "q4a32", "q8g32", "f32", "bf16"]
MOE = {
    **CONFIG,
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "norm_topk_prob": True,
}


def moe_tensors(config, seed):
    """An expert's matrices apart, as Hugging Face has them."""
    rng = np.random.default_rng(seed)
    shapes = checkpoint_shapes(ModelConfig.from_hf(config))
    return {name: (rng.standard_normal(shape) * 0.05).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(params=[CONFIG, QWEN2, MOE, CONFIG | {"tie_word_embeddings": False}], ids=lambda c: c["model_type"])
def folder(request, tmp_path, seed):
    config = request.param
    make = moe_tensors if config is MOE else random_tensors
    return write(tmp_path / "hf", config, make(config, seed))


def to_q3e(folder, quant):
    target = folder.parent / f"{quant}.q3e"
    convert(folder, target, quant, allow_missing_tokenizer=True)
    return target


def read_weights(path):
    """By the gguf package, in the shapes of the file."""
    tensors = gguf.GGUFReader(path).tensors
    return {
        t.name: gguf.dequantize(t.data, t.tensor_type).astype(np.float32).reshape(t.shape[::-1].tolist())
        for t in tensors
    }


def unpacked(path):
    """What the export should hold: experts apart."""
    file, found = _core.ModelFile(str(path)), {}
    own = OwnWeights(file)
    for tensor in file.tensors():
        name, weights = tensor["name"], own.dequantize(tensor["name"])
        if name == "rope.inverse_frequencies":
            continue
        if "gate_up_exps" in name:
            panels = weights.reshape(MOE["num_experts"], -1, 2, 16, weights.shape[-1])
            for i, part in enumerate(("gate", "up")):
                found[name.replace("gate_up", part)] = panels[:, :, i].reshape(
                    MOE["num_experts"], -1, weights.shape[-1]
                )
        elif "down_exps" in name:
            found[name] = weights.reshape(MOE["num_experts"], -1, weights.shape[-1])
        else:
            found[name] = weights[0] if tensor["format"] == "vector" else weights
    return found


@pytest.mark.parametrize("quant", [*LOSSLESS, "int8", "int4", "q4g64", "q4a64", "q4z64", "q6z32"])
def test_weights(folder, quant, tmp_path):
    source = to_q3e(folder, quant)
    report = export_gguf(source, tmp_path / "m.gguf")
    found, expected = read_weights(tmp_path / "m.gguf"), unpacked(source)
    assert found.keys() == expected.keys()
    exact = {tensor.name: tensor.exact for tensor in report.tensors}
    for name, weights in expected.items():
        assert found[name].shape == weights.shape
        if exact[name]:
            np.testing.assert_array_equal(found[name], weights)
        else:
            assert np.abs(found[name] - weights).max() <= 2e-3 * np.abs(weights).max()
    inexact = {tensor.format for tensor in report.tensors if not tensor.exact}
    assert inexact <= {"q4z32", "q4z64"}
    assert bool(report.notes) == bool(inexact)
    assert report.nbytes == (tmp_path / "m.gguf").stat().st_size


@pytest.mark.parametrize("quant", LOSSLESS)
def test_there_and_back_is_the_same_file(folder, quant, tmp_path):
    source = to_q3e(folder, quant)
    export_gguf(source, tmp_path / "m.gguf", threads=1)
    back = None if quant.startswith("q") else quant
    convert(tmp_path / "m.gguf", tmp_path / "back.q3e", back, allow_missing_tokenizer=True)
    a, b = _core.ModelFile(str(source)), _core.ModelFile(str(tmp_path / "back.q3e"))
    assert [t["name"] for t in a.tensors()] == [t["name"] for t in b.tensors()]
    for tensor in a.tensors():
        assert bytes(a.packed(tensor["name"])) == bytes(b.packed(tensor["name"])), tensor["name"]


def test_the_tiny_models_text_comes_back(tiny_q3e, tmp_path):
    """Tokenizer, template, stop tokens, config: every key but the recipe and what GGUF has no word for."""
    source = tiny_q3e("q8g32")
    export_gguf(source, tmp_path / "m.gguf")
    convert(tmp_path / "m.gguf", tmp_path / "back.q3e")
    a, b = _core.ModelFile(str(source)), _core.ModelFile(str(tmp_path / "back.q3e"))
    assert set(a.keys()) == set(b.keys())
    different = {key for key in a.keys() if a.get(key) != b.get(key)}  # noqa: SIM118
    assert different <= {"qwen3edge.recipe"}
    fields = gguf.GGUFReader(tmp_path / "m.gguf").fields
    assert fields["tokenizer.ggml.pre"].contents() == "qwen2"
    assert len(fields["tokenizer.ggml.tokens"].data) == a.get("qwen3edge.vocab_size")
    assert fields["general.architecture"].contents() == "qwen3"
    assert fields["tokenizer.chat_template"].contents() == a.get("tokenizer.chat_template")


def test_other_types(tiny_q3e, tmp_path):
    source = tiny_q3e("int4")
    report = export_gguf(source, tmp_path / "m.gguf", types={"q4z32": "Q8_0", "q4z64": "Q8_0", "q6z32": "F16"})
    assert {(t.format, t.stored, t.exact) for t in report.tensors} == {
        ("vector", "F32", True),
        ("q4z32", "Q8_0", True),
        ("q4z64", "Q8_0", True),
        ("q6z32", "F16", False),
    }
    found, file = read_weights(tmp_path / "m.gguf"), _core.ModelFile(str(source))
    np.testing.assert_array_equal(found["blk.0.ffn_up.weight"], file.dequantize("blk.0.ffn_up.weight"))
    for types, match in (({"q4z32": "Q4_K"}, "Q4_K"), ({"q5": "Q8_0"}, "q5"), ({"vector": "F16"}, "vector")):
        with pytest.raises(RequestError, match=match):
            export_gguf(source, tmp_path / "n.gguf", types=types)
    assert os.listdir(tmp_path) == ["m.gguf"]


def test_experts_whose_weights_are_not_normalized(tmp_path, seed):
    config = MOE | {"norm_topk_prob": False}
    source = to_q3e(write(tmp_path / "hf", config, moe_tensors(config, seed)), "q8g32")
    with pytest.raises(UnsupportedModelError, match="norm_topk_prob"):
        export_gguf(source, tmp_path / "m.gguf")


def test_threads_make_no_difference(tiny_q3e, tmp_path, monkeypatch):
    monkeypatch.setattr("qwen3edge.convert.panel_view._SLICE_BYTES", 1 << 14)
    seen = []
    export_gguf(tiny_q3e("int4"), tmp_path / "3.gguf", threads=3, progress=seen.append)
    monkeypatch.undo()
    export_gguf(tiny_q3e("int4"), tmp_path / "1.gguf", threads=1)
    assert (tmp_path / "1.gguf").read_bytes() == (tmp_path / "3.gguf").read_bytes()
    assert [p.done_bytes for p in seen] == sorted(p.done_bytes for p in seen)
    with pytest.raises(RequestError, match="threads"):
        export_gguf(tiny_q3e("int4"), tmp_path / "m.gguf", threads=-1)


def test_a_failure_leaves_what_was_there(tiny_q3e, tmp_path, monkeypatch):
    target = tmp_path / "m.gguf"
    target.write_bytes(b"old")
    calls = []

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) == 20:
            raise OSError("the disk is full")
        return gguf_blocks.export_blocks(*arguments)

    monkeypatch.setattr("qwen3edge.convert.gguf_export.export_blocks", fail)
    with pytest.raises(OSError, match="disk is full"):
        export_gguf(tiny_q3e("int4"), target)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["m.gguf"]


def test_sources_and_targets_that_are_none(tiny_q3e, tmp_path):
    with pytest.raises((FileFormatError, OSError)):
        export_gguf(tmp_path / "absent.q3e", tmp_path / "m.gguf")
    with pytest.raises(CheckpointError, match="directory"):
        export_gguf(tiny_q3e("int4"), tmp_path)
    (tmp_path / "x.q3e").write_text(json.dumps({}))
    with pytest.raises(FileFormatError):
        export_gguf(tmp_path / "x.q3e", tmp_path / "m.gguf")
    assert os.listdir(tmp_path) == ["x.q3e"]
