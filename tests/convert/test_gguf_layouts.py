"""Tensors that a GGUF file may have in other ways: fused, and with scales beside them."""

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from qwen3edge import _core
from qwen3edge.convert import convert
from qwen3edge.errors import CheckpointError
from tests.convert.random_gguf import Case, write_gguf
from tests.convert.test_gguf import check_weights
from tests.convert.test_lora import halves, write_adapter


def rewrite(path, change):
    """change: of the tensors {name: (raw, type)}, in place."""
    reader = gguf.GGUFReader(path)
    keys = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    tensors = {t.name: (np.array(t.data), t.tensor_type) for t in reader.tensors}
    change(tensors)
    target = path.with_name("new.gguf")
    writer = gguf.GGUFWriter(target, keys.pop("general.architecture").contents())
    for key, field in keys.items():
        array = field.types[0] == gguf.GGUFValueType.ARRAY
        writer.add_key_value(key, field.contents(), field.types[0], sub_type=field.types[1] if array else None)
    for name, (raw, kind) in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(raw), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def fuse(tensors, target, parts, axis=0):
    found = [tensors.pop(part) for part in parts]
    tensors[target] = (np.concatenate([raw for raw, _ in found], axis=axis), found[0][1])


def converted(path, quant=None, **options):
    report = convert(path, path.with_name("m.q3e"), quant, **options)
    return _core.ModelFile(str(path.with_name("m.q3e"))), report


def same_files(a, b):
    assert [t["name"] for t in a.tensors()] == [t["name"] for t in b.tensors()]
    for tensor in a.tensors():
        assert bytes(a.packed(tensor["name"])) == bytes(b.packed(tensor["name"])), tensor["name"]


@pytest.mark.parametrize("architecture", ["qwen3", "qwen2"])
@pytest.mark.parametrize("kind", ["Q4_0", "Q6_K"])
def test_fused_queries_keys_and_values(tmp_path, seed, architecture, kind, monkeypatch):
    """As convert_hf_to_gguf.py --fuse-qkv writes them: the same file as of the three."""
    monkeypatch.setattr("qwen3edge.convert.quantize.SLICE_BYTES", 1 << 14)
    case = Case(architecture, head_dim=64)
    write_gguf(tmp_path / "m.gguf", case, seed, lambda _: kind)
    apart, _ = converted(tmp_path / "m.gguf")

    def change(tensors):
        for layer in range(case.layers):
            for what in ("weight", "bias") if architecture == "qwen2" else ("weight",):
                names = [f"blk.{layer}.attn_{letter}.{what}" for letter in "qkv"]
                fuse(tensors, f"blk.{layer}.attn_qkv.{what}", names)

    path = rewrite(tmp_path / "m.gguf", change)
    fused, report = converted(path)
    same_files(apart, fused)
    assert any(f"in {kind} are stored as" in note for note in report.notes)
    wrong = rewrite(
        path, lambda t: t.update({"blk.0.attn_qkv.weight": (t["blk.0.attn_qkv.weight"][0][:-32], Type[kind])})
    )
    with pytest.raises(CheckpointError, match=r"attn_qkv\.weight.*shape"):
        converted(wrong)


def test_fused_gates_and_ups_of_experts(tmp_path, seed):
    case = Case("qwen3moe")
    model = write_gguf(tmp_path / "m.gguf", case, seed, lambda _: "Q8_0")
    apart, _ = converted(tmp_path / "m.gguf")

    def change(tensors):
        for layer in range(case.layers):
            names = [f"blk.{layer}.ffn_{part}_exps.weight" for part in ("gate", "up")]
            fuse(tensors, f"blk.{layer}.ffn_gate_up_exps.weight", names, axis=1)

    fused, report = converted(rewrite(tmp_path / "m.gguf", change))
    same_files(apart, fused)
    check_weights(fused, model, exact=True)
    assert any("the same weights" in note for note in report.notes)
    module = "model.layers.1.mlp.experts.3.up_proj"
    adapter = halves({f"{module}.weight": np.zeros((256, 256))}, seed, [module])
    lora = write_adapter(tmp_path / "lora", adapter)
    same_files(
        converted(tmp_path / "m.gguf", "f32", lora=lora)[0], converted(tmp_path / "new.gguf", "f32", lora=lora)[0]
    )


def as_scaled(scale, experts=None):
    """Puts a scale beside every matrix of the layers, and one of activations."""

    def change(tensors):
        for name in list(tensors):
            if name.startswith("blk.") and name.endswith(".weight") and "norm" not in name and "gate_inp" not in name:
                stem = name.removesuffix(".weight")
                tensors[f"{stem}.scale"] = (scale if "exps" in name else scale[:1], Type.F32)
                tensors[f"{stem}.input_scale"] = (np.ones(1, np.float32), Type.F32)

    return change


@pytest.mark.parametrize("kind", [kind for kind in ("NVFP4", "Q8_0") if kind in Type.__members__])
@pytest.mark.parametrize("architecture", ["qwen3", "qwen3moe"])
def test_scales_beside_the_tensors(tmp_path, seed, architecture, kind):
    """As every converted NVFP4 file has them: the product is llama.cpp's, whatever the type."""
    case = Case(architecture)
    write_gguf(tmp_path / "m.gguf", case, seed, lambda _: kind)
    plain, _ = converted(tmp_path / "m.gguf", "f32")
    scale = np.random.default_rng(seed).uniform(0.1, 2, case.experts).astype(np.float32)
    path = rewrite(tmp_path / "m.gguf", as_scaled(scale))
    found, _ = converted(path, "f32")
    for tensor in plain.tensors():
        name = tensor["name"]
        right = plain.dequantize(name)
        if "exps" in name:
            right = (right.reshape(case.experts, -1) * scale[:, None]).reshape(right.shape)
        elif name.startswith("blk.") and "norm" not in name and "gate_inp" not in name:
            right = right * scale[0]
        np.testing.assert_array_equal(found.dequantize(name), right)
    kept, report = converted(path)
    assert {t.format for t in report.tensors if t.name.startswith("blk.0.attn_q.")} == {
        "q8" if kind == "NVFP4" else "q8g32"
    }
    assert any(f"{kind} are stored as" in note and "quantized again" in note for note in report.notes)
    name = "blk.1.attn_output.weight"
    assert np.abs(kept.dequantize(name) - found.dequantize(name)).max() <= 0.01 * np.abs(found.dequantize(name)).max()
    ones = rewrite(tmp_path / "m.gguf", as_scaled(np.ones_like(scale)))
    same_files(converted(tmp_path / "m.gguf")[0], converted(ones)[0])


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("blk.0.attn_q.scale", np.ones(2, np.float32), r"expected F32 \[1\], found F32 \[2\]"),
        ("token_embd.scale", np.ones(1, np.float32), r"account for the tensor 'token_embd\.scale'"),
        ("blk.0.attn_norm.scale", np.ones(1, np.float32), "account for"),
        ("blk.7.attn_q.scale", np.ones(1, np.float32), "account for"),
    ],
)
def test_scales_that_are_wrong(tmp_path, seed, name, value, match):
    write_gguf(tmp_path / "m.gguf", Case("qwen3"), seed, lambda _: "Q8_0")
    with pytest.raises(CheckpointError, match=match):
        converted(rewrite(tmp_path / "m.gguf", lambda tensors: tensors.update({name: (value, Type.F32)})))
