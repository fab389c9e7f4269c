"""Quantized checkpoints, written as their programs do: repacked bit by bit where a format of ours has the codes."""

import contextlib
import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert import convert, export_compressed
from qwen3edge.convert.experts import checkpoint_shapes
from qwen3edge.convert.names import model_tensors
from qwen3edge.convert.quantized_methods import _FLOAT8
from qwen3edge.errors import CheckpointError, Qwen3EdgeError, UnsupportedModelError
from qwen3edge.formats import blocks
from qwen3edge.formats.grouped_integers import (
    AWQ_NIBBLES,
    GroupedMatrix,
    Scales,
    dequantize_grouped,
    find_kept,
    pack_grouped,
    unpack,
)
from tests.convert.lora_files import halves, write_adapter
from tests.convert.small_checkpoint import CONFIG, MOE, QWEN2, random_tensors
from tests.formats.safetensors_bytes import encode
from tests.reference import blocks as reference

SMALL = CONFIG | {"intermediate_size": 64}
WIDE = CONFIG | {"hidden_size": 256, "intermediate_size": 384, "head_dim": 64}
WIDE_MOE = MOE | {"hidden_size": 256, "moe_intermediate_size": 128}


def words(codes, bits=4, order=None):
    """[rows, columns] -> int32 words along the rows, the first column lowest, or in AWQ's order of columns."""
    per_word = 32 // bits
    lanes = codes.astype(np.uint32).reshape(len(codes), -1, per_word)
    lanes = lanes[..., order] if order is not None else lanes
    return np.bitwise_or.reduce(lanes << np.arange(0, 32, bits, dtype=np.uint32), axis=-1).view(np.int32)


class Quantized:
    """A checkpoint whose linear modules are quantized at random; `right` has the weights that this stands for."""

    def __init__(self, config, seed):
        self.config, self.keys = dict(config), {}
        self.rng = np.random.default_rng(seed)
        self.tensors = random_tensors(config, seed)
        self.right = dict(self.tensors)

    def modules(self):
        shapes = checkpoint_shapes(ModelConfig.from_hf(self.config))
        linear = [n.removesuffix(".weight") for n in shapes if n.endswith("_proj.weight")]
        return {module: shapes[f"{module}.weight"] for module in linear}

    def codes(self, rows, columns, group, bits=4, symmetric=False):
        """Codes, scales in float16 and zero points, [rows, ..]."""
        top = 1 << bits
        q = self.rng.integers(0, top, (rows, columns), np.uint8)
        scale = self.rng.uniform(0.002, 0.01, (rows, columns // group)).astype(np.float16)
        zero = np.full(scale.shape, top // 2) if symmetric else self.rng.integers(1, top, scale.shape)
        return q, scale, zero.astype(np.uint8)

    def replace(self, module, q, scale, zero, stored):
        group = q.shape[1] // scale.shape[1]
        s, z = (x.astype(np.float32).repeat(group, axis=1) for x in (scale, zero))
        self.right[f"{module}.weight"] = s * (q.astype(np.float32) - z)
        del self.tensors[f"{module}.weight"]
        self.tensors |= {f"{module}.{kind}": np.ascontiguousarray(tensor) for kind, tensor in stored.items()}

    def gptq(self, group=128, bits=4, symmetric=True, stored_less=1, index=True):
        for module, (rows, columns) in self.modules().items():
            q, scale, zero = self.codes(rows, columns, min(group, columns), bits, symmetric)
            zeros = words(zero.T.astype(np.int64) - stored_less, bits)
            stored = {"qweight": words(q, bits).T, "qzeros": zeros, "scales": scale.T}
            if index:
                stored["g_idx"] = (np.arange(columns) // min(group, columns)).astype(np.int32)
            self.replace(module, q, scale, zero, stored)
        self.keys = {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": False, "sym": symmetric}

    def awq(self, group=64):
        order = [0, 2, 4, 6, 1, 3, 5, 7]  # the column of each of a word's values
        for module, (rows, columns) in self.modules().items():
            q, scale, zero = self.codes(rows, columns, group)
            stored = {"qweight": words(q.T, 4, order), "qzeros": words(zero.T, 4, order), "scales": scale.T}
            self.replace(module, q, scale, zero, stored)
        self.keys = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": "gemm"}

    def write(self, folder, name="quantization_config", types=None):
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config | {name: self.keys}))
        (folder / "model.safetensors").write_bytes(encode(self.tensors, types))
        return folder

    def convert(self, folder, quant=None, **options):
        self.write(folder)
        report = convert(folder, folder / "m.q3e", quant, allow_missing_tokenizer=True, **options)
        return _core.ModelFile(str(folder / "m.q3e")), report


def assert_right(file, report, right, kept, atol=0.0):
    """kept: the format of every quantized matrix, with weights as right to within atol of a scale."""
    for tensor in model_tensors(report.config):
        if tensor.is_vector or not tensor.source.endswith("_proj.weight"):
            continue
        assert {t.format for t in report.tensors if t.name == tensor.name} == {kept}
        np.testing.assert_allclose(file.dequantize(tensor.name), right[tensor.source], rtol=0, atol=atol)


@pytest.mark.parametrize(
    ("group", "bits", "kept"),
    [(128, 4, "q4g128"), (64, 4, "q4g64"), (32, 4, "q4g32"), (10**9, 8, "q8"), (64, 8, "q8g32")],
)
@pytest.mark.parametrize("stored_less", [1, 0])
def test_symmetric_gptq(tmp_path, seed, group, bits, kept, stored_less, monkeypatch):
    """The same weights, bit by bit, whatever the slices; the second version stores the zero point itself."""
    monkeypatch.setattr("qwen3edge.convert.quantize.SLICE_BYTES", 1 << 14)
    case = Quantized(WIDE, seed)
    case.gptq(group, bits, stored_less=stored_less)
    case.keys["checkpoint_format"] = "gptq" if stored_less else "gptq_v2"
    file, report = case.convert(tmp_path)
    assert_right(file, report, case.right, kept)
    assert any("gptq" in note and kept in note and "the same weights" in note for note in report.notes)
    file, report = case.convert(tmp_path, "f32")
    assert_right(file, report, case.right, "f32")


def test_gptq_of_one_scale_a_row(tmp_path, seed):
    """group_size -1."""
    case = Quantized(WIDE, seed)
    case.gptq(10**9)
    case.keys |= {"group_size": -1, "desc_act": True}  # which moves nothing then
    assert_right(*case.convert(tmp_path), case.right, "q4g128")


@pytest.mark.parametrize("make", ["awq", "gptq"])
def test_zero_points(tmp_path, seed, make):
    """AWQ's: the levels are the same; what an offset loses in float16 is less than a hundredth of a step."""
    case = Quantized(WIDE, seed)
    case.awq() if make == "awq" else case.gptq(64, symmetric=False)
    file, report = case.convert(tmp_path)
    assert_right(file, report, case.right, "q4a64", atol=0.01 * 15 * 2**-11 * 50)
    name = "blk.1.ffn_down.weight"
    planes, size = blocks.panel_planes(blocks.block_format("q4a64"), 384)
    offsets = blocks.read_lanes(file.packed(name).reshape(-1, size), next(p for p in planes if p.name == "m"))
    q = case.right["model.layers.1.mlp.down_proj.weight"]
    assert np.isfinite(offsets).all() and offsets.shape == (6, 256) and q.shape == (256, 384)
    assert any("offsets rounded to float16" in note and make in note for note in report.notes)
    exact, _ = case.convert(tmp_path, "f32")
    np.testing.assert_array_equal(exact.dequantize(name), q)


@pytest.mark.parametrize("make", ["awq", "gptq"])
def test_quantized_experts(tmp_path, seed, make):
    case = Quantized(WIDE_MOE, seed)
    case.awq(32) if make == "awq" else case.gptq(32)
    file, report = case.convert(tmp_path)
    formats = {t.name: t.format for t in report.tensors}
    kept = "q4a32" if make == "awq" else "q4g32"
    assert {formats[f"blk.{n}.ffn_{part}_exps.weight"] for n in (0, 1) for part in ("gate_up", "down")} == {kept}
    found = file.dequantize("blk.1.ffn_gate_up_exps.weight").reshape(5, -1, 2, 16, 256)
    for expert in range(5):
        for at, part in enumerate(("gate", "up")):
            right = case.right[f"model.layers.1.mlp.experts.{expert}.{part}_proj.weight"]
            np.testing.assert_allclose(
                found[expert, :, at].reshape(right.shape), right, rtol=0, atol=0 if make == "gptq" else 1e-4
            )


def test_biases_of_zeros(tmp_path, seed):
    """As GPTQ's writers give to every layer; Qwen2's own stay, and others are refused."""
    case = Quantized(QWEN2 | {"hidden_size": 128, "head_dim": 64}, seed)
    case.gptq(32)
    case.tensors["model.layers.0.mlp.down_proj.bias"] = np.zeros(128, np.float16)
    file, _ = case.convert(tmp_path)
    np.testing.assert_array_equal(
        file.dequantize("blk.0.attn_q.bias")[0], case.tensors["model.layers.0.self_attn.q_proj.bias"]
    )
    case.tensors["model.layers.0.mlp.down_proj.bias"][3] = 1
    with pytest.raises(CheckpointError, match=r"down_proj\.bias"):
        case.convert(tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c.tensors["model.layers.1.self_attn.k_proj.g_idx"].sort() or c.shuffle(), "'gptq'.*act-order.*bf16"),
        (lambda c: c.gptq_without_index(), "act-order"),
        (lambda c: c.three_bits(), r"'gptq'.*found .*qweight"),
        (lambda c: c.keys.update(quant_method="hqq"), "'hqq'"),
        (lambda c: c.keys.update(quant_method="awq"), "'awq'"),
        (lambda c: c.full_zeros(), "16 or for 0"),
    ],
    ids=["order", "no index", "3 bits", "hqq", "awq", "zero"],
)
def test_gptq_that_is_refused(tmp_path, seed, change, match):
    class Case(Quantized):
        def shuffle(self):
            self.rng.shuffle(self.tensors["model.layers.1.self_attn.k_proj.g_idx"])

        def gptq_without_index(self):
            self.tensors = {name: t for name, t in self.tensors.items() if not name.endswith("g_idx")}
            self.keys["desc_act"] = True

        def three_bits(self):
            name = "model.layers.0.mlp.up_proj.qweight"
            self.tensors[name] = self.tensors[name][: 3 * 256 // 32].copy()

        def full_zeros(self):
            self.tensors["model.layers.0.mlp.up_proj.qzeros"][:] = -1

    case = Case(WIDE, seed)
    case.gptq(64)
    change(case)
    with pytest.raises(UnsupportedModelError, match=match):
        case.convert(tmp_path)
    assert not list(tmp_path.glob("*.q3e"))


def fp8(case, per, dtype=np.float32):
    """per: block, row or tensor. Returns the name of the scales."""
    name = {"block": "weight_scale_inv"}.get(per, "weight_scale")
    for module, (rows, columns) in case.modules().items():
        codes = case.rng.integers(0, 256, (rows, columns), np.uint8)
        codes[codes & 127 == 127] = 0
        grid = {"block": (-(-rows // 128), -(-columns // 128)), "row": (rows, 1), "tensor": ()}[per]
        scale = case.rng.uniform(1e-4, 1e-3, grid).astype(np.float32)
        if dtype == np.uint16:
            scale = (scale.view(np.uint32) >> 16 << 16).view(np.float32)
        values = torch.from_numpy(codes).view(torch.float8_e4m3fn).float().numpy()
        wide = (
            np.broadcast_to(scale, (rows, 1))
            if per != "block"
            else scale.repeat(128, 0).repeat(128, 1)[:rows, :columns]
        )
        case.right[f"{module}.weight"] = values * wide
        stored = (scale.view(np.uint32) >> 16).astype(np.uint16) if dtype == np.uint16 else scale
        case.tensors |= {f"{module}.weight": codes, f"{module}.{name}": np.asarray(stored)}
        case.tensors[f"{module}.input_scale"] = np.ones(1, np.float32)
    case.keys = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}


@pytest.mark.parametrize(
    ("per", "dtype"), [("block", np.float32), ("block", np.uint16), ("row", np.float32), ("tensor", np.float32)]
)
def test_fp8(tmp_path, seed, per, dtype):
    """w = q * scale of its block; rows that end within a block, too."""
    case = Quantized(WIDE | {"intermediate_size": 352, "num_key_value_heads": 1}, seed)
    fp8(case, per, dtype)
    file, report = case.convert(tmp_path, "f32")
    assert_right(file, report, case.right, "f32")
    file, report = case.convert(tmp_path)
    assert_right(file, report, case.right, "q8", atol=2e-3)
    assert any("fp8 checkpoint are stored as q8: dequantized and quantized again" in note for note in report.notes)
    assert any("not quantized there" in note for note in report.notes)


def test_float8_is_torchs():
    expected = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float().numpy()
    np.testing.assert_array_equal(_FLOAT8, expected)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda t: t.pop("model.layers.0.mlp.up_proj.weight_scale_inv"), UnsupportedModelError, "'fp8'.*F8_E4M3.*bf16"),
        (
            lambda t: t.update({"model.layers.0.mlp.up_proj.weight_scale_inv": np.ones((5, 2), np.float32)}),
            CheckpointError,
            r"weight_block_size.*found scales \[5, 2\]",
        ),
        (lambda t: t["model.layers.0.mlp.up_proj.weight"].fill(127), CheckpointError, "finite.*nan"),
        (lambda t: t.update({"model.norm.weight": np.ones(256, np.int32)}), UnsupportedModelError, "I32"),
    ],
    ids=["no scale", "shape", "nan", "norm"],
)
def test_fp8_that_is_refused(tmp_path, seed, change, error, match):
    case = Quantized(WIDE, seed)
    fp8(case, "block")
    change(case.tensors)
    with pytest.raises(error, match=match):
        case.convert(tmp_path)


def compressed(case, group, bits, symmetric, dtype=np.float16):
    for module, (rows, columns) in case.modules().items():
        q, scale, zero = case.codes(rows, columns, min(group, columns), bits, symmetric)
        stored = {"weight_packed": words(q, bits), "weight_scale": scale, "weight_shape": np.array([rows, columns])}
        if dtype == np.uint16:
            scale = (scale.astype(np.float32).view(np.uint32) >> 16 << 16).view(np.float32)
            stored["weight_scale"] = (scale.view(np.uint32) >> 16).astype(np.uint16)
        if not symmetric:
            stored["weight_zero_point"] = words(np.pad(zero, ((0, -rows % (32 // bits)), (0, 0))).T, bits).T
        case.replace(module, q, scale, zero, stored)
    case.keys = {"quant_method": "compressed-tensors", "format": "pack-quantized"}


@pytest.mark.parametrize("dtype", [np.float16, np.uint16])
@pytest.mark.parametrize(
    ("group", "bits", "symmetric", "kept", "atol"),
    [
        (128, 4, True, "q4g128", 0),
        (10**9, 4, True, "q4g128", 0),
        (32, 4, False, "q4a32", 1e-4),
        (128, 8, True, "q8g32", 0),
        (10**9, 8, True, "q8", 0),
        (64, 8, False, "q8", 0.02),
    ],
)
def test_compressed_tensors(tmp_path, seed, group, bits, symmetric, kept, atol, dtype):
    case = Quantized(WIDE, seed)
    compressed(case, group, bits, symmetric, dtype)
    file, report = case.convert(tmp_path)
    assert_right(file, report, case.right, kept, atol)
    file, report = case.convert(tmp_path, "f32")
    assert_right(file, report, case.right, "f32")


@pytest.mark.parametrize("quant", ["q4g32", "q4g128", "q8", "q8g32", "int8", "int4", "q4a32", "q4z64"])
@pytest.mark.parametrize("config", [WIDE, WIDE_MOE], ids=["dense", "mixture"])
def test_our_own_export_comes_back(tmp_path, seed, config, quant):
    """The same weights where the export is exact, and the same bytes where the format is one that has them."""
    case = Quantized(config, seed)
    case.config["tie_word_embeddings"] = False
    case.tensors = random_tensors(case.config, seed)
    first, report = case.convert(tmp_path / "hf", quant)
    exact = {t.name for t in export_compressed(tmp_path / "hf" / "m.q3e", tmp_path / "out").tensors if t.exact}
    again = convert(tmp_path / "out", tmp_path / "again.q3e", allow_missing_tokenizer=True)
    second = _core.ModelFile(str(tmp_path / "again.q3e"))
    before, after = ({t.name: t.format for t in r.tensors} for r in (report, again))
    compared = 0
    for tensor in model_tensors(report.config):
        module = tensor.source.removesuffix(".weight")
        experts = module.replace("experts.gate_up", "experts.0.gate_proj").replace(
            "experts.down", "experts.0.down_proj"
        )
        if experts not in exact or tensor.is_vector or module in ("lm_head", "model.embed_tokens"):
            continue
        np.testing.assert_array_equal(first.dequantize(tensor.name), second.dequantize(tensor.name))
        if before[tensor.name].startswith(("q4g", "q8")):
            assert before[tensor.name] == after[tensor.name]
            np.testing.assert_array_equal(first.packed(tensor.name), second.packed(tensor.name))
        compared += 1
    assert compared or quant == "q4a32"
    assert any("compressed-tensors" in note and "the same weights" in note for note in again.notes)


def mlx(case, group, bits, dtype=np.uint16):
    for module, (rows, columns) in {**case.modules(), "model.embed_tokens": (50, case.config["hidden_size"])}.items():
        q, scale, _ = case.codes(rows, columns, group, bits)
        scale = (scale.astype(np.float32).view(np.uint32) >> 16 << 16).view(np.float32)
        bias = (case.rng.uniform(-0.1, -0.01, scale.shape).astype(np.float32).view(np.uint32) >> 16 << 16).view(
            np.float32
        )
        s, b = (x.repeat(group, axis=1) for x in (scale, bias))
        case.right[f"{module}.weight"] = s * q.astype(np.float32) + b
        halves = [(x.view(np.uint32) >> 16).astype(np.uint16) for x in (scale, bias)]
        case.tensors |= {f"{module}.weight": words(q, bits).view(np.uint32), f"{module}.scales": halves[0]}
        case.tensors[f"{module}.biases"] = halves[1]
    case.keys = {"group_size": group, "bits": bits}


@pytest.mark.parametrize(("bits", "kept"), [(4, "q4a64"), (8, "q8")])
def test_mlx(tmp_path, seed, bits, kept):
    """bfloat16's 8 bits are in float16 as they are: the same weights; the embedding is quantized as all are."""
    case = Quantized(WIDE, seed)
    mlx(case, 64, bits)
    case.write(tmp_path, "quantization")
    report = convert(tmp_path, tmp_path / "m.q3e", allow_missing_tokenizer=True)
    file = _core.ModelFile(str(tmp_path / "m.q3e"))
    assert_right(file, report, case.right, kept, 0 if bits == 4 else 0.02)
    embedding = file.dequantize("token_embd.weight")
    np.testing.assert_allclose(
        embedding, case.right["model.embed_tokens.weight"], rtol=0, atol=0 if bits == 4 else 0.02
    )
    case.keys["mode"] = "mxfp4"
    with pytest.raises(UnsupportedModelError, match=r"'mlx'.*mxfp4"):
        convert(case.write(tmp_path, "quantization"), tmp_path / "m.q3e", allow_missing_tokenizer=True)


def test_mlx_experts(tmp_path, seed):
    case = Quantized(WIDE_MOE, seed)
    mlx(case, 64, 4)
    for layer in range(2):
        for part in ("gate", "up", "down"):
            experts = [f"model.layers.{layer}.mlp.experts.{e}.{part}_proj" for e in range(5)]
            for kind in ("weight", "scales", "biases"):
                stack = np.stack([case.tensors.pop(f"{module}.{kind}") for module in experts])
                case.tensors[f"model.layers.{layer}.mlp.switch_mlp.{part}_proj.{kind}"] = stack
    case.write(tmp_path, "quantization")
    report = convert(tmp_path, tmp_path / "m.q3e", allow_missing_tokenizer=True)
    assert {t.format for t in report.tensors if "exps" in t.name} == {"q4a64"}
    found = _core.ModelFile(str(tmp_path / "m.q3e")).dequantize("blk.1.ffn_down_exps.weight").reshape(5, 256, 128)
    for expert in range(5):
        right = case.right[f"model.layers.1.mlp.experts.{expert}.down_proj.weight"]
        np.testing.assert_array_equal(found[expert], right)


@pytest.mark.parametrize(
    ("method", "tensors", "types"),
    [
        ("bitsandbytes", {"weight": np.zeros((8192, 1), np.uint8), "weight.absmax": np.zeros(256, np.uint8)}, "U8"),
        ("compressed-tensors", {"weight_packed": np.zeros((128, 128), np.uint8)}, "U8"),
        ("modelopt", {"weight": np.zeros((128, 128), np.uint8), "weight_scale_2": np.ones(1, np.float32)}, "U8"),
        ("hqq", {"W_q": np.zeros((128, 64), np.uint8)}, "U8"),
        ("mxfp4", {"weight_blocks": np.zeros((128, 64), np.uint8)}, "U8"),
        ("awq", {"qweight": np.zeros((64, 128), np.int32)}, "I32"),
    ],
)
def test_methods_that_are_refused(tmp_path, seed, method, tensors, types):
    """By their name, and with a way out."""
    case = Quantized(WIDE, seed)
    module = "model.layers.0.self_attn.q_proj"
    del case.tensors[f"{module}.weight"]
    case.tensors |= {f"{module}.{kind}": tensor for kind, tensor in tensors.items()}
    case.keys = {"quant_method": method}
    case.write(tmp_path, types={np.dtype(np.uint8): types} if types == "U8" else None)
    with pytest.raises(UnsupportedModelError, match=f"'{method}'.*convert the checkpoint that it was made of"):
        convert(tmp_path, tmp_path / "m.q3e", allow_missing_tokenizer=True)


def test_rotations_are_refused(tmp_path, seed):
    case = Quantized(WIDE, seed)
    compressed(case, 128, 4, True)
    case.keys["transform_config"] = {"config_groups": {"u": {"type": "hadamard"}}}
    with pytest.raises(UnsupportedModelError, match="transform_config"):
        case.convert(tmp_path)


def test_adapters_on_quantized_checkpoints(tmp_path, seed):
    """What has an update is dequantized and quantized again, the rest is repacked."""
    case = Quantized(WIDE, seed)
    case.gptq(64)
    module = "model.layers.0.self_attn.q_proj"
    lora = write_adapter(tmp_path / "lora", adapter := halves(case.right, seed, [module]))
    file, report = case.convert(tmp_path / "hf", lora=lora)
    a, b = (adapter[f"base_model.model.{module}.lora_{half}.weight"] for half in "AB")
    right = case.right[f"{module}.weight"] + np.float32(2) * (b @ a)
    np.testing.assert_array_equal(file.packed("blk.0.attn_q.weight"), _core.quantize("q4g64", right))
    right = case.right["model.layers.1.self_attn.q_proj.weight"]
    np.testing.assert_array_equal(file.dequantize("blk.1.attn_q.weight"), right)
    assert any("adapter's updates, quantized" in note for note in report.notes)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_codes_come_back(data):
    """Whatever the group, the zero points and the scales: the format that is chosen has the codes, or there is none."""
    bits, group = data.draw(st.sampled_from([4, 8])), data.draw(st.sampled_from([16, 32, 64, 96, 128, 256, 384]))
    rows, columns = data.draw(st.integers(1, 40)), group * data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    q = rng.integers(0, 1 << bits, (rows, columns), np.uint8)
    scale = rng.uniform(1e-3, 1e-2, (rows, columns // group)).astype(np.float16).astype(np.float32)
    scale *= data.draw(st.sampled_from([1, 1, 2.0**-24, 2.0**24]))
    if data.draw(st.booleans()):
        scale[:] = scale[0, 0]
    zero = rng.integers(0, 1 << bits, scale.shape).astype(np.float32)
    if data.draw(st.booleans()):
        zero[:] = 1 << bits - 1
    scales = Scales(scale, zero)
    np.testing.assert_array_equal(unpack(words(q, bits) if columns % 8 == 0 else None, bits), q)
    kept = find_kept(GroupedMatrix((rows, columns), bits, lambda i, j: q[i:j], lambda: scales), scales)
    with np.errstate(over="ignore"):
        half = scale.astype(np.float16).astype(np.float32) == scale
        offsets_fit = np.isfinite((zero * scale).astype(np.float16)).all()
    symmetric = (zero == 1 << bits - 1).all()
    held = symmetric or (bits == 4 and offsets_fit)
    assert (kept is not None) == bool(half.all() and group % 32 == 0 and held)
    if kept is None:
        return
    right = dequantize_grouped(q, scales)
    found = reference.dequantize(kept.format, pack_grouped(kept.format, q, scales), rows, columns)
    np.testing.assert_allclose(found, right, rtol=0, atol=0 if symmetric else 15 * 2**-11 * scale.max())
    if kept.how == "the same weights":
        np.testing.assert_array_equal(found, right)
    assert kept.format != "q8" or len(np.unique(scale[:, 0])) <= rows


MAKERS = {
    "gptq": lambda case: case.gptq(32),
    "awq": lambda case: case.awq(32),
    "fp8": lambda case: fp8(case, "block"),
    "compressed": lambda case: compressed(case, 32, 4, False),
    "mlx": lambda case: mlx(case, 32, 4),
}
TYPES = [np.dtype(kind) for kind in ("f4", "f2", "u2", "u1", "i1", "i4", "u4", "i8")]


@pytest.mark.parametrize("make", MAKERS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_any_tensor_is_read_or_refused(make, tmp_path, data):
    """With a tensor of a module in another type and shape: a file, or an error of ours."""
    case = Quantized(SMALL, 0)
    MAKERS[make](case)
    names = [name for name in case.tensors if ".0.mlp.up_proj." in name or ".1.self_attn.v_proj." in name]
    name = data.draw(st.sampled_from(names))
    old = case.tensors[name]
    shape = data.draw(st.permutations(old.shape) | st.lists(st.sampled_from([0, 1, 2, 8, 64, 96]), max_size=3))
    dtype = data.draw(st.sampled_from([old.dtype, *TYPES]))
    values = np.random.default_rng(0).integers(0, 127, shape) if data.draw(st.booleans()) else np.zeros(shape)
    case.tensors[name] = np.asarray(values.astype(dtype))
    case.write(tmp_path, data.draw(st.sampled_from(["quantization_config", "quantization"])))
    with contextlib.suppress(Qwen3EdgeError):
        convert(tmp_path, tmp_path / "m.q3e", allow_missing_tokenizer=True)


@pytest.mark.parametrize("shape", [(0, 0), (0, 64), (64, 0)], ids=str)
def test_fp8_without_weights_is_refused(tmp_path, shape):
    case = Quantized(SMALL, 0)
    fp8(case, "block")
    case.tensors["model.layers.0.mlp.up_proj.weight"] = np.zeros(shape, np.uint8)
    case.write(tmp_path, "quantization_config")
    with pytest.raises(Qwen3EdgeError, match=r"up_proj\.weight"):
        convert(tmp_path, tmp_path / "m.q3e", allow_missing_tokenizer=True)


def test_awqs_nibbles():
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    assert [order.index(column) for column in range(8)] == list(AWQ_NIBBLES)
