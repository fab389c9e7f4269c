"""GGUF files become `.q3e` files: weights, config, tokenizer, and logits against transformers."""

import os
from dataclasses import dataclass, replace

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert import convert
from qwen3edge.convert.gguf_source import GgufSource, gguf_config
from qwen3edge.convert.gguf_text import GgufText
from qwen3edge.convert.recipe import find_recipe
from qwen3edge.errors import CheckpointError, MissingShardError, UnsupportedModelError
from qwen3edge.evaluate.divergence import kl_divergence
from qwen3edge.formats.gguf import GgufFile
from qwen3edge.formats.gguf_blocks import INCOMING
from tests.checkpoints import run
from tests.convert.random_gguf import VOCAB, Case, gguf_name, write_gguf
from tests.convert.rounded_experts import rounded
from tests.formats.random_blocks import ALL, QUANTIZED
from tests.own_weights import OwnWeights
from tests.reference import rounded_model as rr

CASES = [Case("qwen3"), Case("qwen2", tied=False, head_dim=64), Case("qwen3", tied=False)]
OF_WEIGHTS, WITH_HOOKS, WITHOUT_HOOKS = 1e-3, 1e-3, 5e-3  # mean KL divergence in nats


def parts(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """The model's parameters by their names in the GGUF file."""
    return {
        name: part(parameter.detach()).numpy()
        for parameter_name, parameter in model.named_parameters()
        for name, part in gguf_name(parameter_name)
    }


def stored(file: _core.ModelFile) -> dict[str, np.ndarray]:
    """Every tensor of our file by its name in the GGUF file: experts' gates and ups apart."""
    config, own, found = ModelConfig.from_metadata(file), OwnWeights(file), {}
    for tensor in file.tensors():
        name, weights = tensor["name"], own.dequantize(tensor["name"])
        if "gate_up_exps" in name:
            panels = weights.reshape(config.experts, -1, 2, 16, weights.shape[-1])
            for i, part in enumerate(("gate", "up")):
                found[name.replace("gate_up", part)] = panels[:, :, i]
        elif name != "rope.inverse_frequencies":
            found[name] = weights
    return found


def check_weights(file: _core.ModelFile, model: torch.nn.Module, exact: bool) -> None:
    """Every tensor of the file is that of the model."""
    expected, found = parts(model), stored(file)
    assert found.keys() == expected.keys()
    for name, weights in expected.items():
        close(found[name].reshape(weights.shape), weights, exact)


def put_weights(model: torch.nn.Module, file: _core.ModelFile) -> None:
    """Overwrites all parameters."""
    found = stored(file)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            for name, part in gguf_name(parameter_name):
                view = part(parameter)
                view.copy_(torch.from_numpy(found[name].reshape(view.shape)))


def close(found: np.ndarray, expected: np.ndarray, exact: bool) -> None:
    if exact:
        np.testing.assert_array_equal(found, expected)
    assert np.abs(found - expected).max() <= 0.01 * np.abs(expected).max()


@dataclass(frozen=True)
class Divergences:
    """Mean KL divergences in nats."""

    weights: float  # of transformers with our weights from transformers with the file's
    hooked: float  # of the engine from the former with the same rounding of activations
    plain: float  # of the engine from the latter


def divergences(path, model: torch.nn.Module, seed: int) -> Divergences:
    """model: with the GGUF file's own weights."""
    file = _core.ModelFile(str(path))
    tokens = np.random.default_rng(seed).integers(0, VOCAB, 64)
    logits = run(_core.Engine(file, context=64, threads=1, kv="f32"), tokens)
    theirs = rr.reference_logits(model, tokens)
    put_weights(model, file)
    weights = kl_divergence(theirs, rr.reference_logits(model, tokens)).mean()
    with rounded(model, file):
        hooked = kl_divergence(rr.reference_logits(model, tokens), logits).mean()
    plain = kl_divergence(theirs, logits).mean()
    return Divergences(float(weights), float(hooked), float(plain))


@pytest.mark.parametrize("name", ALL)
def test_every_type(name, tmp_path, seed):
    case = CASES[ALL.index(name) % len(CASES)]
    model = write_gguf(tmp_path / "m.gguf", case, seed, lambda _: name)
    quant = "f32" if name in ("F32", "F16", "BF16") else None
    report = convert(tmp_path / "m.gguf", tmp_path / "m.q3e", quant)
    incoming = INCOMING[gguf.GGMLQuantizationType[name]]
    exact = incoming.exact or quant == "f32"
    file = _core.ModelFile(str(tmp_path / "m.q3e"))
    file.verify()
    check_weights(file, model, exact)
    formats = {t.format for t in report.tensors} - {"vector"}
    assert formats == {quant or incoming.format}
    assert any(name in note and ("same weights" in note) == exact for note in report.notes)
    found = divergences(tmp_path / "m.q3e", model, seed)
    print(f"{name} {case.architecture}: {found}")
    assert found.weights <= (1e-12 if exact else OF_WEIGHTS)
    assert found.hooked <= WITH_HOOKS
    assert found.plain <= WITHOUT_HOOKS


@pytest.mark.parametrize(
    "name",
    [
        "Q4_0",
        "Q4_K",
        "MXFP4",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("Q4_1", "Q8_0", "Q6_K", "IQ4_XS")),
    ],
)
def test_experts(name, tmp_path, seed):
    model = write_gguf(tmp_path / "m.gguf", Case("qwen3moe", tied=name == "Q4_0"), seed, lambda _: name)
    convert(tmp_path / "m.gguf", tmp_path / "m.q3e")
    file = _core.ModelFile(str(tmp_path / "m.q3e"))
    file.verify()
    check_weights(file, model, INCOMING[gguf.GGMLQuantizationType[name]].exact)
    config = ModelConfig.from_metadata(file)
    assert (config.experts, config.experts_per_token, config.expert_ffn_size) == (16, 8, 256)
    assert config.norm_topk_prob
    found = divergences(tmp_path / "m.q3e", model, seed)
    print(f"{name}: {found}")
    assert found.hooked <= WITH_HOOKS
    assert found.plain <= WITHOUT_HOOKS


def test_types_may_be_mixed(tmp_path, seed):
    """As llama.cpp's recipes mix them; gates and ups of different types are held in 8 bits."""
    types = {"token_embd.weight": "Q6_K", "blk.0.attn_v.weight": "F16", "blk.1.ffn_up_exps.weight": "Q4_0"}
    case = Case("qwen3moe")
    model = write_gguf(tmp_path / "m.gguf", case, seed, lambda name: types.get(name, "Q4_K"))
    report = convert(tmp_path / "m.gguf", tmp_path / "m.q3e")
    formats = {tensor.name: tensor.format for tensor in report.tensors}
    assert formats["token_embd.weight"] == formats["blk.0.attn_v.weight"] == "q8"
    assert formats["blk.1.ffn_gate_up_exps.weight"] == "q8"
    assert formats["blk.0.ffn_gate_up_exps.weight"] == formats["blk.1.ffn_down_exps.weight"] == "q4a32"
    assert formats["blk.0.ffn_gate_inp.weight"] == "f32"
    assert any("Q4_K and Q4_0" in note and "again" in note for note in report.notes)
    check_weights(_core.ModelFile(str(tmp_path / "m.q3e")), model, False)


@pytest.mark.parametrize("case", [Case("qwen3", tied=False), Case("qwen2"), Case("qwen3moe")], ids=str)
def test_split_files(case, tmp_path, seed):
    """The same file as from one piece."""
    write_gguf(tmp_path / "m.gguf", case, seed, lambda _: "Q4_0")
    write_gguf(tmp_path / "s.gguf", case, seed, lambda _: "Q4_0", split=5)
    shards = sorted(tmp_path.glob("s-*.gguf"))
    assert len(shards) > 3
    convert(tmp_path / "m.gguf", tmp_path / "m.q3e", name="x")
    convert(shards[0], tmp_path / "s.q3e", name="x")
    assert (tmp_path / "m.q3e").read_bytes() == (tmp_path / "s.q3e").read_bytes()
    shards[1].unlink()
    with pytest.raises(MissingShardError, match=shards[1].name):
        convert(shards[0], tmp_path / "s.q3e")


def test_a_chosen_quant_requantizes_but_what_it_is_already(tmp_path, seed):
    model = write_gguf(tmp_path / "m.gguf", Case("qwen3"), seed, lambda name: "Q4_0" if "attn" in name else "Q8_0")
    report = convert(tmp_path / "m.gguf", tmp_path / "m.q3e", "q4g32")
    assert {t.format for t in report.tensors} == {"vector", "q4g32"}
    file = OwnWeights(_core.ModelFile(str(tmp_path / "m.q3e")))
    np.testing.assert_array_equal(file.dequantize("blk.0.attn_q.weight"), parts(model)["blk.0.attn_q.weight"])
    found, expected = file.dequantize("blk.0.ffn_up.weight"), parts(model)["blk.0.ffn_up.weight"]
    assert 0 < np.abs(found - expected).max() < 0.2 * np.abs(expected).max()
    assert any("Q8_0 are stored as q4g32: dequantized and quantized again" in note for note in report.notes)


def test_unquantized_files_get_the_default_recipe(tmp_path, seed):
    write_gguf(tmp_path / "m.gguf", Case("qwen3"), seed, lambda name: "BF16")
    report = convert(tmp_path / "m.gguf", tmp_path / "m.q3e")
    assert report.recipe.name == "int4"
    assert any("BF16" in note and note.endswith("quantized") for note in report.notes)


def test_config_and_tokenizer(tmp_path, seed):
    write_gguf(tmp_path / "m.gguf", Case("qwen3", tied=False), seed, lambda _: "Q8_0")
    report = convert(tmp_path / "m.gguf", tmp_path / "m.q3e")
    config = report.config
    assert (config.vocab_size, config.hidden_size, config.layers, config.ffn_size) == (VOCAB, 256, 2, 512)
    assert (config.heads, config.kv_heads, config.head_size, config.rope_theta) == (4, 2, 64, 1e4)
    assert (config.tied_embeddings, config.qk_norm, config.qkv_bias) == (False, True, False)
    assert config.stop_token_ids == (258, 256)  # <|im_end|>, <|endoftext|>
    file = _core.ModelFile(str(tmp_path / "m.q3e"))
    assert len(file.get("tokenizer.ggml.tokens")) == 260  # padding needs no token
    assert file.get("tokenizer.ggml.token_type")[-4:] == [3, 3, 3, 4]
    assert file.get("tokenizer.chat_template").endswith("<think>")
    assert file.get("qwen3edge.sampling.thinking.top_k") == 20
    assert _core.Tokenizer.read(file).bpe.token_bytes(65) == b"A"


def test_no_tokenizer(tmp_path, seed):
    write_gguf(tmp_path / "m.gguf", Case("qwen3"), seed, lambda _: "Q8_0", metadata=False)
    with pytest.raises(CheckpointError, match="tokenizer"):
        convert(tmp_path / "m.gguf", tmp_path / "m.q3e")
    assert os.listdir(tmp_path) == ["m.gguf"]
    convert(tmp_path / "m.gguf", tmp_path / "m.q3e", allow_missing_tokenizer=True)


def test_random_blocks_are_of_quantized_types():
    assert len(QUANTIZED) >= 20


class Edited:
    """Writes a GGUF file with something changed between header and data."""

    def __init__(self, monkeypatch, tmp_path, seed):
        self.monkeypatch, self.path, self.seed = monkeypatch, tmp_path / "m.gguf", seed

    def write(self, keys=None, case=None, drop=(), add=()):
        add_value = gguf.GGUFWriter.add_key_value
        add_tensor = gguf.GGUFWriter.add_tensor
        write_header = gguf.GGUFWriter.write_header_to_file
        left = dict(keys or {})

        def value(writer, key, found, kind, sub_type=None):
            found = left.pop(key, found)
            if found is not None:
                add_value(writer, key, found, kind, sub_type)

        def header(writer, path=None):
            for key, new in left.items():  # which the file has not
                add_value(writer, key, new, gguf.GGUFValueType.get_type(new))
            write_header(writer, path)

        def tensor(writer, name, raw, **options):
            if name not in drop:
                add_tensor(writer, name, raw, **options)
            if name == "output_norm.weight":
                for new, data in add:
                    add_tensor(writer, new, data)

        with self.monkeypatch.context() as patch:
            patch.setattr(gguf.GGUFWriter, "add_key_value", value)
            patch.setattr(gguf.GGUFWriter, "add_tensor", tensor)
            patch.setattr(gguf.GGUFWriter, "write_header_to_file", header)
            write_gguf(self.path, case or Case("qwen3"), self.seed, lambda _: "Q8_0")
        return self.path


@pytest.fixture
def edited(monkeypatch, tmp_path, seed):
    return Edited(monkeypatch, tmp_path, seed)


@pytest.mark.parametrize(
    ("keys", "error", "match"),
    [
        ({"general.architecture": "llama"}, UnsupportedModelError, "llama"),
        ({"qwen3.block_count": 3}, CheckpointError, r"blk\.2"),
        ({"qwen3.block_count": 1}, CheckpointError, r"account for.*blk\.1"),
        ({"qwen3.block_count": None}, CheckpointError, "nothing"),
        ({"qwen3.embedding_length": 512}, CheckpointError, "shape"),
        ({"qwen3.rope.scaling.type": "longrope"}, UnsupportedModelError, "gguf: qwen3.rope.scaling.type: .*'longrope'"),
        ({"qwen3.rope.scaling.type": 7}, CheckpointError, "gguf: qwen3.rope.scaling.type: expected text, found 7"),
        ({"qwen3.rope.scale_linear": 0.25}, UnsupportedModelError, "factor from 1"),
        ({"qwen3.attention.sliding_window": 128}, UnsupportedModelError, "gguf: .*sliding_window"),
        ({"qwen3.attention.head_count": 0}, UnsupportedModelError, "heads"),
        ({"qwen3.attention.head_count_kv": 3}, UnsupportedModelError, "divide"),
        ({"qwen3.attention.key_length": 32}, UnsupportedModelError, "value_length"),
        ({"qwen3.rope.freq_base": 0.0}, UnsupportedModelError, "rope_theta"),
        ({"qwen3.rope.freq_base": float("nan")}, UnsupportedModelError, "rope_theta"),
        ({"tokenizer.ggml.model": "llama"}, UnsupportedModelError, "Qwen's tokenizer"),
        ({"tokenizer.ggml.pre": "llama-bpe"}, UnsupportedModelError, "llama-bpe"),
        ({"tokenizer.ggml.token_type": [1] * 20}, CheckpointError, "515 tokens"),
        ({"tokenizer.ggml.token_type": [2] * VOCAB}, UnsupportedModelError, "found 2"),
        ({"tokenizer.ggml.tokens": ["a"] * VOCAB}, CheckpointError, "tokenizer.ggml"),
        ({"tokenizer.ggml.eos_token_id": VOCAB}, CheckpointError, "eos_token_id"),
        ({"tokenizer.chat_template": "x" * (1 << 21)}, CheckpointError, "chat_template"),
    ],
)
def test_metadata_that_is_wrong(edited, keys, error, match):
    path = edited.write(keys)
    with pytest.raises(error, match=match):
        convert(path, path.with_name("m.q3e"))
    assert os.listdir(path.parent) == ["m.gguf"]


def test_tensors_that_are_wrong(edited):
    path = edited.write(drop=("blk.1.ffn_up.weight",))
    with pytest.raises(CheckpointError, match=r"expected the tensor 'blk\.1\.ffn_up\.weight'"):
        convert(path, path.with_name("m.q3e"))
    path = edited.write(add=[("blk.0.attn_q.bias", np.zeros(256, np.float32))])
    with pytest.raises(CheckpointError, match=r"account for the tensor 'blk\.0\.attn_q\.bias'"):
        convert(path, path.with_name("m.q3e"))
    path = edited.write(add=[("rope_freqs.weight", np.ones(32, np.float32))])
    with pytest.raises(CheckpointError, match="rope_freqs"):
        convert(path, path.with_name("m.q3e"))
    path = edited.write(case=Case("qwen3moe"), drop=("blk.0.ffn_up_exps.weight",))
    with pytest.raises(CheckpointError, match="ffn_up_exps"):
        convert(path, path.with_name("m.q3e"))
    path = edited.write({"qwen3moe.expert_count": 8}, Case("qwen3moe"))
    with pytest.raises(CheckpointError, match="shape"):
        convert(path, path.with_name("m.q3e"))


OPTIONAL_KEYS = [
    *(f"general.sampling.{name}" for name in ("temp", "top_k", "top_p")),
    *(f"tokenizer.ggml.{name}" for name in ("merges", "eot_token_id", "eom_token_id")),
]
OPTIONAL_OF_MODEL = [
    *(f"rope.scaling.{name}" for name in ("type", "factor", "original_context_length", "yarn_beta_fast")),
    *("attention.sliding_window", "expert_weights_scale"),
]
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.sampled_from([0, -1, 1, 2**31, 2**32]) | st.floats() | st.booleans()
ARRAYS = st.sampled_from([np.dtype(kind) for kind in ("u1", "i1", "<u4", "<i4", "<i8", "<f4", "<f8", "?")]).flatmap(
    lambda dtype: st.integers(0, 3).map(lambda count: np.arange(1, count + 1).astype(dtype))
)
VALUES = NUMBERS | st.text(max_size=4) | st.lists(st.text(max_size=3), max_size=VOCAB) | ARRAYS


@pytest.fixture(scope="module", params=["qwen3", "qwen3moe"])
def good_gguf(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "m.gguf"
    write_gguf(path, Case(request.param, experts=2, top=1), 0, lambda _: "Q8_0")
    with GgufFile(path) as file:
        yield file


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_metadata_is_read_or_refused(good_gguf, data):
    """Keys absent or of any type and value: a model that the runtime knows, or a typed error."""
    architecture = good_gguf.metadata["general.architecture"]
    optional = [*OPTIONAL_KEYS, *(f"{architecture}.{name}" for name in OPTIONAL_OF_MODEL)]
    keys = data.draw(st.sets(st.sampled_from([*sorted(good_gguf.metadata), *optional]), min_size=1, max_size=3))
    with pytest.MonkeyPatch.context() as patch:
        for key in keys:
            if data.draw(st.booleans()):
                patch.setitem(good_gguf.metadata, key, data.draw(VALUES))
            else:
                patch.delitem(good_gguf.metadata, key, raising=False)
        try:
            config = gguf_config(good_gguf)
            text = GgufText(good_gguf.metadata, config.vocab_size)
            text.metadata("qwen3", 1024)
            config = replace(config, stop_token_ids=text.stop_token_ids())
            GgufSource(good_gguf, config).keeping_recipe(find_recipe("int4"))
        except (CheckpointError, UnsupportedModelError):
            return
        assert config.vocab_size == VOCAB and config.layers == 2


def test_weights_that_are_not_finite(tmp_path, seed):
    for name in ("Q4_0", "Q6_K", "F32"):
        path = tmp_path / f"{name}.gguf"
        write_gguf(path, Case("qwen3"), seed, lambda _, name=name: name)
        reader = gguf.GGUFReader(path, "r+")
        tensor = next(t for t in reader.tensors if t.name == "blk.1.attn_k.weight")
        data = tensor.data.view(np.uint8)
        data[3, -2:] = 0xFF if name != "Q4_0" else data[3, -2:]
        if name == "Q4_0":
            data[3, 18:20] = (0, 0x7C)
        reader.data.flush()
        with pytest.raises(CheckpointError, match=r"blk\.1\.attn_k|k_proj"):
            convert(path, tmp_path / "m.q3e")
    assert not list(tmp_path.glob("*q3e*"))
