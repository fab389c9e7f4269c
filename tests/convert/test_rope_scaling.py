"""Scaled RoPE: config.json, GGUF's keys and what convert is asked for, held against transformers."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from transformers import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from qwen3edge import _core
from qwen3edge.architectures.rope_scaling import RopeScaling
from qwen3edge.config import ModelConfig
from qwen3edge.convert import convert, export_gguf
from qwen3edge.convert.hf_files import hf_config
from qwen3edge.convert.rope_scaling import gguf_scaling
from qwen3edge.errors import CheckpointError, FileFormatError, RequestError, UnsupportedModelError
from tests.checkpoints import Shape, make_model, run, save, to_q3e
from tests.convert.small_checkpoint import CONFIG, random_tensors, write
from tests.convert.test_config import QWEN3
from tests.runtime.test_parity import TOLERANCE

CARD = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
FLOAT32 = 2.0**-24  # half a unit in the last place, relative

YARNS = [
    CARD,
    {**CARD, "type": "yarn", "rope_theta": 5e6},
    {**CARD, "factor": 1.5},
    {**CARD, "factor": 1.0},
    {**CARD, "factor": 8, "original_max_position_embeddings": 4096, "truncate": False},
    {**CARD, "beta_fast": 16, "beta_slow": 2.5},
    {**CARD, "beta_fast": 0, "beta_slow": None},
    {**CARD, "attention_factor": 1.25},
    {**CARD, "mscale": 0.707, "mscale_all_dim": 1.0},
    {**CARD, "mscale": 0.5},
    {"rope_type": "yarn", "factor": 2.0},  # the original positions are max_position_embeddings
    {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 8192},
    {**CARD, "original_max_position_embeddings": 3},  # even the bounds are out of range
]


def rotary(changes) -> Qwen3RotaryEmbedding:
    return Qwen3RotaryEmbedding(Qwen3Config(**copy.deepcopy(QWEN3 | changes)))  # which it changes


def found_of(changes) -> tuple[ModelConfig, np.ndarray, float]:
    config = ModelConfig.from_hf(QWEN3 | changes)
    factor = config.rope_scaling.attention_factor if config.rope_scaling else 1.0
    return config, np.array(config.inverse_frequencies(), np.float32), factor


@pytest.mark.parametrize(
    "changes",
    [
        *({"rope_scaling": yarn} for yarn in YARNS),
        {"rope_parameters": {**CARD, "rope_theta": 1e4}},
        {"rope_scaling": CARD, "original_max_position_embeddings": 8192},
        {"rope_scaling": {"type": "linear", "factor": 2.5}},
    ],
    ids=str,
)
def test_frequencies_and_factor(changes):
    """Those of transformers, but that ours are rounded once, from double."""
    expected = rotary(changes)
    _, frequencies, factor = found_of(changes)
    np.testing.assert_allclose(frequencies, expected.inv_freq.numpy(), rtol=8 * FLOAT32)
    assert factor == pytest.approx(expected.attention_scaling, rel=1e-15)


def test_cos_and_sin_to_the_last_position():
    expected = rotary({"rope_scaling": CARD})
    _, frequencies, factor = found_of({"rope_scaling": CARD})
    apart = np.abs(frequencies.astype(np.float64) - expected.inv_freq.numpy())
    positions = [0, 1, 4095, 32767, 32768, 65536, 99991, 131070, 131071]

    def tables() -> list[np.ndarray]:
        both = expected(torch.zeros(1), torch.tensor([positions]))
        return [
            np.concatenate([table[i, :64].numpy() for table in (both[0][0], both[1][0])]) for i in range(len(positions))
        ]

    own = tables()
    expected.inv_freq = torch.from_numpy(frequencies.copy())
    for position, theirs, alike in zip(positions, own, tables(), strict=True):
        got = _core.kernels.cos_sin(position, frequencies, factor)
        np.testing.assert_allclose(got, alike, rtol=0, atol=2 * factor * FLOAT32 + 2.0**-24)
        # Their frequencies are a unit or two off, which counts as often as the position says; products round, too.
        angle = position * (apart + 2 * FLOAT32 * frequencies)
        assert (np.abs(got - theirs) <= factor * np.tile(angle, 2) + 3e-7).all(), position


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "attention_factor": 0.8},
        {"rope_type": "linear", "factor": 3.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("family", ["qwen3", "qwen2", "qwen3_moe"])
def test_logits(scaling, family, tmp_path, seed):
    heads = {"heads": 2, "kv_heads": 1} if family == "qwen2" else {}
    mixture = {"experts": 4, "top": 4, "ffn": 64} if family == "qwen3_moe" else {}  # all of them: no ties
    shape = Shape("scaled", family, layers=2, **heads, **mixture)
    plain = make_model(shape, seed)
    config = type(plain.config)(
        **{**plain.config.to_dict(), "rope_parameters": None, "rope_scaling": scaling, "rope_theta": 1e4}
    )
    config._attn_implementation = "eager"
    model = type(plain)(config).eval().float()
    model.load_state_dict(plain.state_dict())
    tokens = np.random.default_rng(seed).integers(0, shape.vocab, 300)
    with torch.no_grad():
        expected = model(torch.from_numpy(tokens)[None]).logits[0].numpy()
        unscaled = plain(torch.from_numpy(tokens)[None]).logits[0].numpy()
    path = to_q3e(save(model, tmp_path), "f32")
    file = _core.ModelFile(str(path))
    engine = _core.Engine(file, context=300, threads=2, kv="f32")
    most = TOLERANCE * np.sqrt((expected**2).mean())
    assert np.abs(run(engine, tokens) - expected).max() <= most < np.abs(unscaled - expected).max()
    # The last positions, by the same frequencies: a unit in the last place of these would be a hundredth of a radian.
    model.model.rotary_emb.inv_freq = torch.from_numpy(file.dequantize("rope.inverse_frequencies")[0].copy())
    far = np.arange(131072 - 200, 131072)
    with torch.no_grad():
        expected = (
            model(torch.from_numpy(tokens[:200])[None], position_ids=torch.from_numpy(far)[None]).logits[0].numpy()
        )
    got = engine.forward(
        tokens[:200], np.arange(200), np.zeros(200, int), np.ones(200, bool), rope_positions=np.stack([far] * 3, 1)
    )
    assert np.abs(got - expected).max() <= TOLERANCE * np.sqrt((expected**2).mean())


def test_the_context_grows():
    def context(changes):
        return ModelConfig.from_hf(QWEN3 | changes).context_length

    assert context({"rope_scaling": CARD}) == 131072
    assert context({"rope_scaling": {**CARD, "factor": 1.0}}) == 40960  # what config.json says is more
    assert context({"rope_scaling": {"type": "linear", "factor": 2.0}}) == 40960
    assert context({"rope_scaling": CARD, "max_position_embeddings": 262144}) == 262144


@pytest.mark.parametrize(
    ("rope", "error", "match"),
    [
        ({"rope_type": "dynamic", "factor": 2.0}, UnsupportedModelError, "one of linear, yarn, found 'dynamic'"),
        ({"rope_type": "llama3", "factor": 2.0}, UnsupportedModelError, "found 'llama3'"),
        ({"rope_type": "longrope"}, UnsupportedModelError, "found 'longrope'"),
        ({"rope_type": 7}, UnsupportedModelError, "found 7"),
        ({"rope_type": "yarn"}, CheckpointError, "factor: expected a number"),
        ({"rope_type": "linear", "factor": "2"}, CheckpointError, "factor: expected a number"),
        ({"type": "linear", "factor": 0.5}, UnsupportedModelError, "factor from 1"),
        ({**CARD, "factor": math.nan}, UnsupportedModelError, "factor from 1"),
        ({**CARD, "factor": 1e30}, UnsupportedModelError, "factor from 1"),
        ({**CARD, "attention_factor": 0}, UnsupportedModelError, "attention_factor"),
        ({**CARD, "attention_factor": True}, CheckpointError, "attention_factor"),
        ({**CARD, "beta_fast": 1, "beta_slow": 2}, UnsupportedModelError, "beta_fast of at least beta_slow"),
        ({**CARD, "beta_slow": -1}, UnsupportedModelError, "beta_slow from"),
        ({**CARD, "truncate": 1}, CheckpointError, "truncate"),
        ({**CARD, "original_max_position_embeddings": 0}, UnsupportedModelError, "original positions"),
        ({**CARD, "original_max_position_embeddings": 1.5}, CheckpointError, "original_max_position_embeddings"),
        ({**CARD, "factor": 1000.0}, UnsupportedModelError, "context_length"),
        ({**CARD, "rope_theta": 1}, UnsupportedModelError, "more than 1 with YaRN"),
    ],
    ids=str,
)
def test_what_cannot_be_computed(rope, error, match):
    with pytest.raises(error, match=match):
        ModelConfig.from_hf(QWEN3 | {"rope_scaling": rope})


@pytest.mark.parametrize(
    "rope", [{**CARD, "factor": 1.5, "truncate": False}, {"type": "linear", "factor": 2.0}], ids=str
)
def test_files_tell_it(rope, tmp_path, seed):
    """The header of a `.q3e` file, and config.json of an export."""
    config = CONFIG | {"rope_scaling": rope}
    path = to_q3e(write(tmp_path / "hf", config, random_tensors(config, seed)), "q8")
    expected, found = ModelConfig.from_hf(config), ModelConfig.from_metadata(_core.ModelFile(str(path)))
    for name, value in vars(expected.rope_scaling).items():
        assert getattr(found.rope_scaling, name) == (
            pytest.approx(value, rel=1e-7) if isinstance(value, float) else value
        )
    assert found.context_length == expected.context_length
    frequencies = _core.ModelFile(str(path)).dequantize("rope.inverse_frequencies")[0]
    np.testing.assert_array_equal(frequencies, np.float32(expected.inverse_frequencies()))
    exported = json.loads(json.dumps(hf_config(expected, "float32")))
    assert ModelConfig.from_hf(exported).rope_scaling == expected.rope_scaling
    Qwen3Config(**exported).validate_rope()


def test_headers_that_are_wrong(tmp_path):
    metadata = ModelConfig.from_hf(QWEN3 | {"rope_scaling": CARD}).to_metadata() | {"qwen3edge.stop_token_ids": []}
    assert ModelConfig.from_metadata(metadata).rope_scaling.kind == "yarn"
    for key, value, error in (
        ("type", "ntk", UnsupportedModelError),
        ("factor", 0.0, UnsupportedModelError),
        ("attention_factor", math.inf, UnsupportedModelError),
        ("original_context_length", 0, UnsupportedModelError),
        ("yarn_truncate", 1, UnsupportedModelError),
    ):
        with pytest.raises(error):
            ModelConfig.from_metadata(metadata | {f"qwen3edge.rope.scaling.{key}": value})
        del (missing := dict(metadata))[f"qwen3edge.rope.scaling.{key}"]
        if key != "type":
            with pytest.raises(FileFormatError, match=key):
                ModelConfig.from_metadata(missing)


def test_gguf_round_trip(tmp_path, seed):
    for number, rope in enumerate(
        [
            CARD,
            {**CARD, "attention_factor": 0.9, "beta_fast": 20.0, "beta_slow": 2.0},
            {"type": "linear", "factor": 2.0},
        ]
    ):
        config = CONFIG | {"rope_scaling": rope}
        first = to_q3e(write(tmp_path / f"{number}", config, random_tensors(config, seed)), "f32")
        export_gguf(first, tmp_path / "m.gguf")
        convert(tmp_path / "m.gguf", tmp_path / "back.q3e", allow_missing_tokenizer=True)
        files = [_core.ModelFile(str(path)) for path in (first, tmp_path / "back.q3e")]
        a, b = (ModelConfig.from_metadata(file).rope_scaling for file in files)
        assert a.kind == b.kind == rope.get("rope_type", rope.get("type"))
        assert b.attention_factor == pytest.approx(a.attention_factor, rel=3e-7)
        a, b = (file.dequantize("rope.inverse_frequencies")[0] for file in files)
        np.testing.assert_allclose(a, b, rtol=3e-7)
    config = CONFIG | {"rope_scaling": {**CARD, "truncate": False}}
    path = to_q3e(write(tmp_path / "whole", config, random_tensors(config, seed)), "f32")
    with pytest.raises(UnsupportedModelError, match="whole channels"):
        export_gguf(path, tmp_path / "m.gguf")


def of_gguf(**keys):
    """rope.scaling.X as llama.cpp reads them, in a model of 40,960 positions."""
    named = {f"rope.scaling.{key}": value for key, value in keys.items()}
    return gguf_scaling("m.gguf: qwen3", named, lambda key, default: float(named.get(key, default)), lambda: 40960)


def test_gguf_keys():
    assert of_gguf() is None
    assert of_gguf(type="none", factor=4.0) is None
    assert of_gguf(type="yarn") is None  # by 1
    assert of_gguf(factor=4.0) == of_gguf(type="linear", factor=4.0) == RopeScaling("linear", 4.0)
    assert of_gguf(type="yarn", factor=4.0) == RopeScaling.yarn(4.0, 40960)
    sharper = of_gguf(type="yarn", factor=4.0, attn_factor=0.5, yarn_attn_factor=3.0, yarn_beta_fast=16.0)
    assert sharper.attention_factor == pytest.approx(1.5 * (1 + 0.1 * math.log(4)))
    assert (sharper.beta_fast, sharper.beta_slow) == (16.0, 1.0)
    with pytest.raises(UnsupportedModelError, match=r"^m\.gguf: qwen3\.rope\.scaling\.type: .*found 'longrope'"):
        of_gguf(type="longrope", factor=4.0)
    with pytest.raises(UnsupportedModelError, match="ext_factor"):
        of_gguf(type="yarn", factor=4.0, yarn_ext_factor=0.0)


def test_asked_for(tmp_path, seed):
    folder = write(tmp_path / "hf", CONFIG, random_tensors(CONFIG, seed))  # of 128 positions

    def converted(asked, folder=folder):
        return convert(folder, tmp_path / "m.q3e", "q8", allow_missing_tokenizer=True, rope_scaling=asked).config

    assert converted("yarn").rope_scaling == RopeScaling.yarn(4.0, 128)
    assert converted("yarn").context_length == 512
    assert converted("yarn:2.5:100").rope_scaling == RopeScaling.yarn(2.5, 100)
    card = write(tmp_path / "card", CONFIG | {"max_position_embeddings": 40960}, random_tensors(CONFIG, seed))
    assert converted("yarn", card).rope_scaling == RopeScaling.yarn(4.0, 32768)
    assert converted("yarn", card).context_length == 131072
    for asked in ("yarn:1:128", "yarn:2:129", "yarn:2:0"):
        with pytest.raises(RequestError, match="a factor above 1 and up to the 128 positions"):
            converted(asked)
    for asked in ("linear", "yarn:x", "yarn:2:3:4", "yarn:2:1.5", "", 4.0, "yarn:nan", "yarn:0.5"):
        with pytest.raises(RequestError, match="rope_scaling: expected"):
            converted(asked)
    with pytest.raises(RequestError, match=r"more than the 128 positions .*, found 1\.5 times 80; yarn:4:128 gives"):
        converted("yarn:1.5:80")
    scaled = write(tmp_path / "scaled", CONFIG | {"rope_scaling": CARD}, random_tensors(CONFIG, seed))
    with pytest.raises(RequestError, match="without scaled RoPE, found one with yarn by 4"):
        converted("yarn", scaled)
