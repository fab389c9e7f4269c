"""A checkpoint becomes a file: the right values under the right names, and typed errors for what contradicts itself."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert import Recipe, Rule, convert, export_gguf
from qwen3edge.convert.names import model_tensors
from qwen3edge.errors import CheckpointError, MissingShardError, RequestError, UnsupportedModelError
from qwen3edge.formats.blocks import as_float32
from tests.convert.small_checkpoint import CONFIG, QWEN2, random_tensors, write
from tests.formats.safetensors_bytes import write_shards
from tests.own_weights import OwnWeights
from tests.reference import quantizers


def convert_bare(folder, quant="f32", **options):
    target = folder / f"{quant}.q3e"
    report = convert(folder, target, quant, allow_missing_tokenizer=True, **options)
    return _core.ModelFile(str(target)), report


@pytest.mark.parametrize(
    "config", [CONFIG, QWEN2, CONFIG | {"tie_word_embeddings": False}], ids=["qwen3", "qwen2", "untied"]
)
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_f32_holds_the_checkpoint(tmp_path, seed, config, dtype):
    tensors = random_tensors(config, seed)
    if dtype == "f16":
        tensors = {name: t.astype(np.float16) for name, t in tensors.items()}
    if dtype == "bf16":
        tensors = {name: (t.view(np.uint32) >> 16).astype(np.uint16) for name, t in tensors.items()}
    file, report = convert_bare(write(tmp_path, config, tensors))
    file.verify()
    assert [t["name"] for t in file.tensors()] == [t.name for t in report.tensors]
    assert len(file.tensors()) == len(tensors) + 1  # the frequencies
    for tensor in model_tensors(ModelConfig.from_hf(config)):
        expected = as_float32(tensors[tensor.source]).reshape(tensor.rows, tensor.columns)
        np.testing.assert_array_equal(OwnWeights(file).dequantize(tensor.name), expected)


@pytest.mark.parametrize("quant", ["int4", "int8", "q4g128", "q4a64", "q4z64", "q6z32", "bf16"])
def test_quantized_files_hold_what_the_oracle_packs(tmp_path, seed, quant):
    tensors = random_tensors(CONFIG, seed)
    file, report = convert_bare(write(tmp_path, CONFIG, tensors), quant)
    formats = {t.name: t.format for t in report.tensors}
    for tensor in model_tensors(ModelConfig.from_hf(CONFIG)):
        weights = tensors[tensor.source].reshape(tensor.rows, tensor.columns)
        np.testing.assert_array_equal(
            OwnWeights(file).packed(tensor.name), quantizers.quantize(formats[tensor.name], weights)
        )


def test_formats_that_give_way_are_noted(tmp_path, seed):
    _, report = convert_bare(write(tmp_path, CONFIG, random_tensors(CONFIG, seed)), "q4g64")
    formats = {t.name: t.format for t in report.tensors}
    assert formats["blk.0.ffn_down.weight"] == "q4g32"  # 96 columns
    assert formats["blk.0.ffn_up.weight"] == "q4g64"
    assert report.notes == (
        "2 matrices are stored as q4g32: their rows of 96 weights cannot be divided into groups of q4g64",
    )
    assert 4.25 < report.bits_per_weight < 5.5


def test_threads_and_shards_do_not_change_the_file(tmp_path, seed, tiny_model_path):
    one = tmp_path / "1.q3e"
    convert(tiny_model_path, one, "int4", threads=1, name="x")
    convert(tiny_model_path, tmp_path / "3.q3e", "int4", threads=3, name="x")
    assert one.read_bytes() == (tmp_path / "3.q3e").read_bytes()
    whole = write(tmp_path / "whole", CONFIG, random_tensors(CONFIG, seed))
    convert(whole, whole / "x.q3e", allow_missing_tokenizer=True, name="x")
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "config.json").write_text(json.dumps(CONFIG))
    tensors = random_tensors(CONFIG, seed)
    shards = {f"part-{i}.safetensors": {name: tensors[name] for name in list(tensors)[i::3]} for i in range(3)}
    write_shards(cut, shards)
    convert(cut, cut / "x.q3e", allow_missing_tokenizer=True, name="x")
    assert (cut / "x.q3e").read_bytes() == (whole / "x.q3e").read_bytes()


def test_progress_reaches_the_end(tmp_path, seed):
    seen = []
    _, report = convert_bare(write(tmp_path, CONFIG, random_tensors(CONFIG, seed)), "int8", progress=seen.append)
    assert [p.done_bytes for p in seen] == sorted(p.done_bytes for p in seen)
    assert {p.tensor for p in seen} == {t.name for t in report.tensors if t.name != "rope.inverse_frequencies"}
    assert seen[-1].total_bytes - seen[-1].done_bytes == 4 * CONFIG["head_dim"] // 2


def test_a_recipe_of_ones_own(tmp_path, seed):
    recipe = Recipe("mine", (Rule("blk.1.*", "bf16"), Rule("*", "q8g32")))
    folder = write(tmp_path, CONFIG, random_tensors(CONFIG, seed))
    convert(folder, folder / "x.q3e", recipe, allow_missing_tokenizer=True)
    file = _core.ModelFile(str(folder / "x.q3e"))
    assert Recipe.from_json(file.get("qwen3edge.recipe")) == recipe
    formats = {t["name"]: t["format"] for t in file.tensors()}
    assert (formats["blk.1.attn_q.weight"], formats["token_embd.weight"]) == ("bf16", "q8g32")


def test_checkpoints_without_the_prefix(tmp_path, seed):
    tensors = random_tensors(CONFIG, seed)
    bare = {name.removeprefix("model."): t for name, t in tensors.items()}
    file, _ = convert_bare(write(tmp_path, CONFIG, bare))
    np.testing.assert_array_equal(
        OwnWeights(file).dequantize("blk.1.attn_k.weight"), bare["layers.1.self_attn.k_proj.weight"]
    )


def test_copies_of_a_tied_head_and_old_buffers_may_be_there(tmp_path, seed):
    tensors = random_tensors(CONFIG, seed)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(16, np.float32)
    convert_bare(write(tmp_path, CONFIG, tensors))


@pytest.mark.parametrize("prefix", ["model.", ""])
def test_a_tied_head_that_differs(tmp_path, seed, prefix):
    """transformers 5 does not tie the two then, and says so; so do we."""
    tensors = random_tensors(CONFIG, seed)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
    tensors["lm_head.weight"][49, 63] *= -1
    renamed = {name.replace("model.", prefix, 1): t for name, t in tensors.items()}
    file, report = convert_bare(write(tmp_path, CONFIG, renamed))
    assert not report.config.tied_embeddings
    np.testing.assert_array_equal(file.dequantize("output.weight"), tensors["lm_head.weight"])
    np.testing.assert_array_equal(file.dequantize("token_embd.weight"), tensors["model.embed_tokens.weight"])
    assert [note for note in report.notes if "lm_head.weight" in note and "ties" in note]
    if prefix:
        head = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).lm_head.weight
        np.testing.assert_array_equal(head.detach().numpy(), tensors["lm_head.weight"])


def test_a_tied_model_that_stores_its_head_only(tmp_path, seed):
    """As safetensors.torch.save_model does; transformers ties it the other way round."""
    tensors = random_tensors(CONFIG, seed)
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
    file, report = convert_bare(write(tmp_path, CONFIG, tensors))
    assert report.config.tied_embeddings
    np.testing.assert_array_equal(file.dequantize("token_embd.weight"), tensors["lm_head.weight"])


def test_a_model_without_a_head(tmp_path, seed):
    """An embedding model: not tied, no head, names without their prefix."""
    bare = {name.removeprefix("model."): t for name, t in random_tensors(CONFIG, seed).items()}
    untied = CONFIG | {"tie_word_embeddings": False}
    _, report = convert_bare(write(tmp_path, untied | {"architectures": ["Qwen3Model"]}, bare))
    assert report.config.headless and report.notes[0].startswith("there is no lm_head.weight: a model for embeddings")
    with pytest.raises(CheckpointError, match=r"expected the tensor 'lm_head\.weight' in the checkpoint, found none"):
        convert_bare(write(tmp_path, untied, random_tensors(CONFIG, seed)))


@pytest.mark.parametrize(
    "left", [{}, {"quant_method": "bitsandbytes", "load_in_4bit": True}, {"quant_method": "gptq", "bits": 4}], ids=str
)
def test_a_quantization_config_that_is_left_over(tmp_path, seed, left):
    """Weights decide: these are plain."""
    tensors = random_tensors(CONFIG, seed)
    file, report = convert_bare(write(tmp_path, CONFIG | {"quantization_config": left}, tensors))
    np.testing.assert_array_equal(
        file.dequantize("blk.1.attn_k.weight"), tensors["model.layers.1.self_attn.k_proj.weight"]
    )
    assert len([note for note in report.notes if "left over" in note]) == bool(left)


def test_one_line_for_each_doubt(tmp_path, seed):
    config = CONFIG | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}
    _, report = convert_bare(write(tmp_path, config, random_tensors(CONFIG, seed)))
    assert report.config.rope_theta == 1e6
    assert [note for note in report.notes if "1e+06" in note and "10000" in note]
    (tmp_path / "model.safetensors").rename(tmp_path / "weights.safetensors")
    _, report = convert_bare(tmp_path)
    assert [note for note in report.notes if "weights.safetensors" in note]


def test_a_file_of_the_folder(tmp_path, seed):
    write(tmp_path, CONFIG, random_tensors(CONFIG, seed))
    for name in ("model.safetensors", "config.json"):
        with pytest.raises(CheckpointError, match="give the folder"):
            convert(tmp_path / name, tmp_path / "x.q3e")


def test_a_missing_tensor(tmp_path, seed):
    for name in random_tensors(CONFIG, seed):
        tensors = random_tensors(CONFIG, seed)
        del tensors[name]
        with pytest.raises(CheckpointError, match="expected the tensor"):
            convert_bare(write(tmp_path, CONFIG, tensors))
    assert not list(tmp_path.glob("*q3e*"))


def test_a_tensor_that_would_be_ignored(tmp_path, seed):
    tensors = random_tensors(CONFIG, seed) | {"model.layers.0.self_attn.q_proj.bias": np.zeros(128, np.float32)}
    with pytest.raises(CheckpointError, match=r"q_proj\.bias"):
        convert_bare(write(tmp_path, CONFIG, tensors))


def test_a_config_that_disagrees_with_its_tensors(tmp_path, seed):
    tensors = random_tensors(CONFIG, seed)
    for change in (
        {"hidden_size": 96},
        {"head_dim": 64},
        {"vocab_size": 51},
        {"num_hidden_layers": 3},
        {"num_hidden_layers": 1},
    ):
        with pytest.raises(CheckpointError, match=r"shape|tensor"):
            convert_bare(write(tmp_path, CONFIG | change, tensors))
    transposed = tensors | {"model.layers.0.mlp.up_proj.weight": tensors["model.layers.0.mlp.up_proj.weight"].T.copy()}
    with pytest.raises(CheckpointError, match=r"\[96, 64\].*\[64, 96\]"):
        convert_bare(write(tmp_path, CONFIG, transposed))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("name", ["model.layers.1.mlp.down_proj.weight", "model.norm.weight"])
def test_weights_that_are_not_finite(tmp_path, seed, name, value):
    tensors = random_tensors(CONFIG, seed)
    tensors[name][..., 17] = value
    if name == "model.norm.weight" and np.isfinite(value):
        return
    with pytest.raises(CheckpointError, match=f"{name}.*17"):
        convert_bare(write(tmp_path, CONFIG, tensors), "int4")
    assert not list(tmp_path.glob("*q3e*"))


def test_folders_that_are_none(tmp_path, seed):
    with pytest.raises(CheckpointError, match="folder"):
        convert(tmp_path / "absent", tmp_path / "x.q3e")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        convert(tmp_path, tmp_path / "x.q3e")
    write(tmp_path, CONFIG, random_tensors(CONFIG, seed))
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        convert(tmp_path, tmp_path / "x.q3e")
    with pytest.raises(RequestError, match="quant"):
        convert(tmp_path, tmp_path / "x.q3e", "int5")
    with pytest.raises(RequestError, match="threads"):
        convert_bare(tmp_path, threads=-1)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(MissingShardError):
        convert_bare(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"model_type": "qwen3_vl"}))
    with pytest.raises(UnsupportedModelError, match="qwen3_vl"):
        convert_bare(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '{"a": 1, "a": 2}', "\xff", '{"a":' * 50_000])
def test_a_config_that_is_no_json(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        convert_bare(tmp_path)


def test_what_is_read_is_not_written_over(tmp_path, seed):
    """Neither by its name nor through a link; a file that an earlier conversion left in the folder may be."""
    folder, model, converted = tmp_path / "hf", tmp_path / "m.q3e", tmp_path / "m.gguf"
    folder.mkdir()
    write(folder, CONFIG, random_tensors(CONFIG, seed))
    convert(folder, model, allow_missing_tokenizer=True)
    export_gguf(model, converted)
    weights = next(folder.glob("*.safetensors"))
    (tmp_path / "link.q3e").symlink_to(weights)
    before = {path: path.read_bytes() for path in (*folder.iterdir(), model, converted)}
    for source, target in ((folder, weights), (folder, folder / "config.json"), (folder, tmp_path / "link.q3e"),
                           (converted, converted)):  # fmt: skip
        with pytest.raises(RequestError, match="found a file that is read"):
            convert(source, target, allow_missing_tokenizer=True)
    with pytest.raises(RequestError, match="found a file that is read"):
        export_gguf(model, model)
    assert {path: path.read_bytes() for path in (*folder.iterdir(), model, converted)} == before
    for _ in range(2):
        convert(folder, folder / "m.q3e", allow_missing_tokenizer=True)
