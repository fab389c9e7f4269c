"""X^T X of experts and of the head, and what GPTQ makes of it."""

import json
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from qwen3edge import _core
from qwen3edge.calibrate.calibration import Wanted, calibrate
from qwen3edge.calibrate.collect import HEAD_EVERY_OF_GRAM
from qwen3edge.convert import Recipe, Rule, convert
from qwen3edge.convert.gptq import LEAST_TOKENS
from qwen3edge.convert.statistics import Statistics

HEAD_ALONE = Recipe("head", (Rule("output.weight", "q4z32"), Rule("*", "f32")))
WINDOW, TOKENS = 64, 260


@pytest.fixture(scope="module")
def text(tmp_path_factory, tiny_model_path):
    path = tmp_path_factory.mktemp("text") / "text.jsonl"
    path.write_text("\n".join((tiny_model_path / "heldout.jsonl").read_text("utf-8").splitlines()[1:120:4]), "utf-8")
    return path


def result_error(gram, stored, exact) -> float:
    """Of what the rows compute over the tokens seen."""
    e = (stored - exact).astype(np.float64)
    return float(np.einsum("rk,kl,rl->", e, gram.astype(np.float64), e))


def test_experts(tiny_moe_path, text, tmp_path):
    exact = tmp_path / "f32.q3e"
    config = convert(tiny_moe_path, exact, "f32", threads=1).config
    report = calibrate(exact, tmp_path / "all.npz", Wanted(text, WINDOW, TOKENS, True, True), threads=1)
    assert report.without_gram == ()
    statistics = Statistics(tmp_path / "all.npz")
    gptq = convert(
        tiny_moe_path, tmp_path / "gptq.q3e", "q4z32", imatrix=tmp_path / "all.npz", quantizer="gptq", threads=1
    )
    convert(tiny_moe_path, tmp_path / "weighed.q3e", "q4z32", imatrix=tmp_path / "all.npz", threads=1)
    wide, ours, theirs = (_core.ModelFile(str(p)) for p in (exact, gptq.path, tmp_path / "weighed.q3e"))
    named, better, few = " ".join(gptq.notes), [], 0
    for part, columns in (("gate_up", config.hidden_size), ("down", config.expert_ffn_size)):
        name = f"blk.1.ffn_{part}_exps.weight"
        counts, squares = statistics.counts(name), statistics.mean_squares(name)
        of = [f.dequantize(name).reshape(config.experts, -1, columns) for f in (wide, ours, theirs)]
        for expert in range(config.experts):
            gram = statistics.gram(name, columns, expert)
            np.testing.assert_allclose(np.diagonal(gram), squares[expert] * counts[expert], rtol=1e-4, atol=1e-5)
            w, found, plain = (values[expert] for values in of)
            if counts[expert] < LEAST_TOKENS * columns:
                np.testing.assert_array_equal(found, plain)
                few += 1
            else:
                better.append(result_error(gram, found, w) / result_error(gram, plain, w))
    assert few and len(better) > few, (few, len(better))
    assert np.mean(better) < 0.6, better
    assert "as they saw fewer tokens than 0.25 x their columns: blk.0.ffn_gate_up_exps.weight expert" in named
    assert "as there is no X^T X: token_embd.weight" in named


def test_experts_only_when_asked(tiny_moe_path, text, tmp_path):
    """And none that do not fit, which is said."""
    exact = tmp_path / "f32.q3e"
    convert(tiny_moe_path, exact, "f32", threads=1)
    calibrate(exact, tmp_path / "dense.npz", Wanted(text, WINDOW, 64, True), threads=1)
    found = Statistics(tmp_path / "dense.npz")
    assert found.gram("blk.0.attn_q.weight", 256) is not None
    assert found.gram("blk.0.ffn_down_exps.weight", 64, 0) is None
    wanted = Wanted(text, WINDOW, 64, True, True, gram_bytes=2 << 20)  # 16 x 256 x 256 x 4 are 4 MiB
    report = calibrate(exact, tmp_path / "small.npz", wanted, threads=1)
    assert report.without_gram == tuple(f"blk.{n}.ffn_gate_up_exps.weight" for n in range(4))
    found = Statistics(tmp_path / "small.npz")
    assert found.gram("blk.0.ffn_gate_up_exps.weight", 256, 0) is None
    assert found.gram("blk.0.ffn_down_exps.weight", 64, 0) is not None


def test_the_head(tiny_model_path, text, tmp_path):
    """Of a model whose head is not its embedding."""
    folder = tmp_path / "untied"
    shutil.copytree(tiny_model_path, folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}), "utf-8")
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, folder / "model.safetensors")
    exact = tmp_path / "f32.q3e"
    convert(folder, exact, "f32", threads=1)
    calibrate(exact, tmp_path / "all.npz", Wanted(text, WINDOW, TOKENS, True), threads=1)
    statistics, name = Statistics(tmp_path / "all.npz"), "output.weight"
    assert statistics.counts(name) == pytest.approx(TOKENS / HEAD_EVERY_OF_GRAM, rel=0.05)
    gram = statistics.gram(name, 256)
    np.testing.assert_allclose(np.diagonal(gram), statistics.mean_squares(name)[0] * statistics.counts(name), rtol=1e-4)
    weights = {}
    for quantizer in ("weighted", "gptq"):
        path = tmp_path / f"{quantizer}.q3e"
        convert(folder, path, HEAD_ALONE, imatrix=tmp_path / "all.npz", quantizer=quantizer, threads=1)
        weights[quantizer] = _core.ModelFile(str(path)).dequantize(name)
    w = _core.ModelFile(str(exact)).dequantize(name)
    assert result_error(gram, weights["gptq"], w) < 0.6 * result_error(gram, weights["weighted"], w)
