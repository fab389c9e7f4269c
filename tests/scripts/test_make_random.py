"""Random models: the same weights however they are cut, as a checkpoint and straight as a `.q3e` file."""

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert import convert
from qwen3edge.convert.experts import checkpoint_shapes
from qwen3edge.convert.names import model_tensors
from qwen3edge.convert.recipe import find_recipe
from qwen3edge.formats.safetensors import SafetensorsFolder

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_random.py"
spec = importlib.util.spec_from_file_location("make_random", SCRIPT)
make_random = importlib.util.module_from_spec(spec)
sys.modules["make_random"] = make_random
spec.loader.exec_module(make_random)


def random_tensors(shape: str, seed: int):
    return make_random.RandomTensors(checkpoint_shapes(ModelConfig.from_hf(make_random.SHAPES[shape])), seed)


def run(*arguments) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("name", "weights", "bytes_gib"),
    [
        ("0.6B", 0.596, 1.11),
        ("1.7B", 1.72, 3.2),
        ("4B", 4.02, 7.49),
        ("8B", 8.19, 15.26),
        ("qwen2.5-0.5B", 0.494, 0.92),
        ("30B-A3B", 30.53, 56.87),
    ],
)
def test_shapes_are_those_of_the_real_models(name, weights, bytes_gib):
    config = ModelConfig.from_hf(make_random.SHAPES[name])
    count = sum(math.prod(shape) for shape in checkpoint_shapes(config).values())
    assert count / 1e9 == pytest.approx(weights, rel=0.01)
    assert 2 * count / 2**30 == pytest.approx(bytes_gib, rel=0.01)


@pytest.mark.parametrize(("quant", "gigabytes"), [("int4", 17.3), ("q4z64", 16.5)])
def test_the_large_mixture_fits_16_gib_of_file(quant, gigabytes):
    config = ModelConfig.from_hf(make_random.SHAPES["30B-A3B"])
    tensors, recipe = model_tensors(config), find_recipe(quant)
    nbytes = sum(_core.packed_nbytes(recipe.format_of(t, config.layers), t.rows, t.columns) for t in tensors)
    assert nbytes < gigabytes * 1e9, nbytes


def test_weights_do_not_depend_on_how_they_are_cut(seed):
    source = random_tensors("tiny", seed)
    name = "model.layers.0.mlp.up_proj.weight"
    whole = source.read_rows(name, 0, 768)
    for start, stop in ((0, 16), (5, 40), (752, 768), (767, 768)):
        np.testing.assert_array_equal(source.read_rows(name, start, stop), whole[start:stop])
    values = (whole.astype(np.uint32) << 16).view(np.float32)
    assert values.std() == pytest.approx(0.02, rel=0.02)
    norm = (source.read_rows("model.norm.weight", 0, 256).astype(np.uint32) << 16).view(np.float32)
    assert norm.mean() == pytest.approx(1, abs=0.05)
    assert not np.array_equal(whole, random_tensors("tiny", seed + 1).read_rows(name, 0, 768))


@pytest.mark.parametrize("shape", ["tiny", "tiny-moe"])
def test_both_ways_give_the_same_file(tmp_path, shape):
    result = run("--shape", shape, "--to", "hf", tmp_path / "hf", "--seed", 5)
    assert result.returncode == 0, result.stderr
    result = run("--shape", shape, "--to", "q3e", tmp_path / "m.q3e", "--seed", 5, "--quant", "int8")
    assert result.returncode == 0, result.stderr
    convert(tmp_path / "hf", tmp_path / "n.q3e", "int8", name="random m")
    assert (tmp_path / "m.q3e").read_bytes() == (tmp_path / "n.q3e").read_bytes()
    file = _core.ModelFile(str(tmp_path / "m.q3e"))
    file.verify()
    assert len(file.get("tokenizer.ggml.tokens")) == 260


def test_a_mixture_routes_to_all_experts(tmp_path, seed):
    """With a deviation of 0.02 everywhere, deep layers take a fifth of the experts, the same ones for all tokens."""
    shape = {
        **make_random.SHAPES["tiny-moe"],
        "num_experts": 64,
        "num_hidden_layers": 16,
        "hidden_size": 128,
        "vocab_size": 1024,
    }
    make_random.write_q3e(tmp_path / "m.q3e", shape, seed, "int8", "none")
    engine = _core.Engine(_core.ModelFile(str(tmp_path / "m.q3e")), context=512, chunk=512)
    counts = np.zeros((16, 64), int)

    def count(tensor, layer, expert, values):
        if tensor == "ffn_gate_up_exps":
            counts[layer, expert] += len(values)

    engine.observe(count)
    tokens = np.random.default_rng(seed).integers(0, 1024, 512)
    engine.forward(tokens, np.arange(512), np.zeros(512, int), np.zeros(512, bool))
    assert (counts.sum(1) == 512 * 4).all()
    assert ((counts > 0).mean(1) > 0.95).all(), (counts > 0).sum(1)
    assert (counts.max(1) < 4 * counts.mean(1)).all(), counts.max(1)


def test_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(make_random, "_SHARD_BYTES", 1 << 20)
    make_random.write_checkpoint(tmp_path, make_random.SHAPES["tiny"], 3, "none")
    assert len(list(tmp_path.glob("*.safetensors"))) > 5
    with SafetensorsFolder(tmp_path) as folder:
        source = random_tensors("tiny", 3)
        for name in source.names():
            rows = source.shape(name)[0]
            np.testing.assert_array_equal(folder.read_rows(name, 0, rows), source.read_rows(name, 0, rows))


def test_tokenizer_of_a_folder(tmp_path, tiny_model_path):
    arguments = ("--shape", "tiny", "--to", "hf", tmp_path, "--tokenizer", tiny_model_path)
    assert run(*arguments).returncode == 0
    assert (tmp_path / "tokenizer.json").read_bytes() == (tiny_model_path / "tokenizer.json").read_bytes()
    assert json.loads((tmp_path / "config.json").read_text())["num_hidden_layers"] == 4


def test_errors_are_one_line(tmp_path):
    for arguments in (("--quant", "int5"), ("--layers", "0")):
        result = run("--shape", "tiny", "--to", "q3e", tmp_path / "m.q3e", *arguments)
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1
    assert run("--shape", "tiny", "--to", "onnx", tmp_path / "m").returncode == 2
