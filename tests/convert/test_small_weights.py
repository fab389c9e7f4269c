"""Weights too small for float16 scales: the matrix stays in bf16 with a note, and the model says the same."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3edge import _core
from qwen3edge.convert import convert
from qwen3edge.convert.small_weights import largest_magnitude, loses
from qwen3edge.formats.blocks import as_float32
from tests.convert.small_checkpoint import CONFIG, MOE, random_tensors, write

QUANTIZED = [f["name"] for f in _core.block_formats() if f["block"]]


def formats(path):
    return {tensor["name"]: tensor["format"] for tensor in _core.ModelFile(str(path)).tensors()}


def converted(folder, config, tensors, quant="int8"):
    report = convert(write(folder, config, tensors), folder / "m.q3e", quant, allow_missing_tokenizer=True)
    _core.ModelFile(str(report.path)).verify()
    assert [p.name for p in folder.iterdir() if p.suffix == ".part"] == []
    return formats(report.path), report


def probabilities(path, tokens):
    engine = _core.Engine(_core.ModelFile(str(path)), context=64, kv="f32")
    n = len(tokens)
    logits = engine.forward(tokens, range(n), [0] * n, [True] * n).astype(np.float64)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


@pytest.mark.parametrize("quant", ["int4", "int8"])
def test_a_model_whose_norms_make_up_for_small_weights(tmp_path, seed, quant, tiny_model_path):
    """The norm before the feed-forward times s, gate and up divided by s: the same function, at every s."""
    from qwen3edge.formats.safetensors import SafetensorsFolder  # noqa: PLC0415

    tokens = np.random.default_rng(seed).integers(5, 2000, 60)
    with SafetensorsFolder(tiny_model_path) as source:
        base = {}
        for name in source.names():
            shape = source.shape(name)
            base[name] = np.array(as_float32(source.read_rows(name, 0, shape[0]))).reshape(shape)
    config = json.loads((tiny_model_path / "config.json").read_text())
    exact, divergence = None, {}
    for scale in (1.0, 1e5, 1e6, 1e9):
        tensors = {
            name: t * np.float32(scale) if "post_attention_layernorm" in name
            else t / np.float32(scale) if "gate_proj" in name or "up_proj" in name
            else t
            for name, t in base.items()
        }  # fmt: skip
        folder = tmp_path / str(scale)
        found, report = converted(folder, config, tensors, quant)
        if exact is None:
            converted(folder, config, tensors, "f32")
            exact = probabilities(folder / "m.q3e", tokens)
            found, report = converted(folder, config, tensors, quant)
        got = probabilities(folder / "m.q3e", tokens)
        divergence[scale] = float((exact * np.log(exact / got)).sum(-1).mean())
        kept = {name for name, fmt in found.items() if fmt == "bf16"}
        if scale == 1.0:
            assert not kept and not report.notes
        if scale >= 1e6:
            assert kept == {f"blk.{n}.ffn_{kind}.weight" for n in range(4) for kind in ("gate", "up")}
            assert "8 matrices are stored as bf16" in "\n".join(report.notes)
    print(divergence)
    assert max(divergence.values()) < 1.5 * divergence[1.0] + 1e-3


def test_a_few_rows_near_zero_keep_nothing(tmp_path, seed):
    """Neurons that are switched off: nothing that could be lost."""
    tensors = random_tensors(CONFIG, seed)
    for name, tensor in tensors.items():
        if "gate_proj" in name:
            tensor[:13] *= 1e-8
    found, report = converted(tmp_path, CONFIG, tensors)
    assert "bf16" not in found.values()
    assert report.notes == ()


def test_one_expert_of_many(tmp_path, seed):
    """Its rows are few among all, but they are all that it has."""
    tensors = random_tensors(MOE, seed)
    for name, tensor in tensors.items():
        if ".layers.1.mlp.experts.3." in name and "down" in name:
            tensor[:] *= 1e-7
    found, report = converted(tmp_path, MOE, tensors)
    assert [name for name, fmt in found.items() if fmt == "bf16"] == ["blk.1.ffn_down_exps.weight"]
    assert "1 matrices are stored as bf16, such as blk.1.ffn_down_exps.weight" in report.notes[0]


def test_zeros_are_no_small_weights(tmp_path, seed):
    tensors = random_tensors(CONFIG, seed)
    for name, tensor in tensors.items():
        if "gate_proj" in name:
            tensor[:] = 0
    found, _ = converted(tmp_path, CONFIG, tensors)
    assert "bf16" not in found.values()


def as_bf16(values):
    return (values.view(np.uint32) >> 16).astype(np.uint16)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    exponent=st.integers(-45, 4),
    block_format=st.sampled_from(QUANTIZED),
    bf16=st.booleans(),
)
def test_what_is_not_lost_is_as_good_as_if_it_were_large(seed, exponent, block_format, bf16):
    """At any magnitude: either it loses, or its relative error is nearly that of the same weights around 1."""
    weights = np.random.default_rng(seed).standard_normal((16, 256)).astype(np.float32)
    small = np.ldexp(weights, 3 * exponent)
    small = as_bf16(small) if bf16 else small
    if not as_float32(small).any():
        return
    lost = loses(block_format, small)
    assert lost or 3 * exponent > -60
    assert not lost or 3 * exponent <= -15  # where q8g32 is the first to lose
    back = _core.dequantize(block_format, _core.quantize(block_format, small), 16, 256)
    large = np.ldexp(as_float32(small), -3 * exponent)
    expected = _core.dequantize(block_format, _core.quantize(block_format, large), 16, 256)
    wide = as_float32(small).astype(np.float64)
    error = np.sqrt(np.square(back - wide).sum() / np.square(wide).sum())
    least = np.sqrt(np.square(expected - large).sum() / np.square(large).sum())
    assert lost == (error > 1.118 * least) or abs(error / least - 1.118) < 0.1


@settings(deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_largest_magnitude(values):
    weights = np.array(values, np.float32).reshape(1, -1)
    assert largest_magnitude(weights) == np.abs(weights).max()
    assert largest_magnitude(as_bf16(weights)) == np.abs(as_float32(as_bf16(weights))).max()
    half = np.clip(weights, -6e4, 6e4).astype(np.float16)
    assert largest_magnitude(half) == np.abs(half).max()
