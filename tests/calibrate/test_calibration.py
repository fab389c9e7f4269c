"""What calibrate writes is what the matrices met, and convert makes use of it."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import qwen3edge
from qwen3edge import _core
from qwen3edge.calibrate.calibration import Wanted, calibrate
from qwen3edge.convert import Recipe, Rule, convert
from qwen3edge.convert.statistics import Statistics
from qwen3edge.errors import FileFormatError, RequestError
from qwen3edge.evaluate.measure import measure
from qwen3edge.evaluate.texts import read_documents, windows

WINDOW = 128


@pytest.fixture(scope="module")
def text(tmp_path_factory, tiny_model_path):
    """Held-out chats; the tests measure on others of them."""
    path = tmp_path_factory.mktemp("text") / "text.jsonl"
    lines = (tiny_model_path / "heldout.jsonl").read_text("utf-8").splitlines()
    path.write_text("\n".join(lines[1::4]), "utf-8")
    return path


@pytest.fixture(scope="module")
def statistics(tmp_path_factory, tiny_q3e, text):
    """Of the f32 model, in passes of 1 MiB of X^T X."""
    path = tmp_path_factory.mktemp("statistics") / "all.npz"
    wanted = Wanted(
        text, WINDOW, 4000, grams=True, gram_bytes=3 << 20, sensitivities=True, sensitivity_tokens=300,
        imatrix=path.with_suffix(".dat"),
    )  # fmt: skip
    told = []
    report = calibrate(tiny_q3e("f32"), path, wanted, threads=1, progress=lambda *what: told.append(what))
    assert report.inputs == 16
    assert any("pass 2" in what for what, _, _ in told)
    assert not list(path.parent.glob("*.part"))
    assert not list(path.parent.glob("qwen3edge-*"))
    return path


def test_against_transformers(statistics, tiny_q3e, tiny_model_path, text):
    reference = AutoModelForCausalLM.from_pretrained(tiny_model_path, dtype=torch.float32).eval()
    with qwen3edge.load(tiny_q3e("f32"), context=WINDOW, threads=1) as model:
        parts = list(windows(read_documents(text, model.prompt_builder), WINDOW))
    sums, grams, left = {}, {}, 4000

    def hook(name):
        def add(_, inputs):
            x = inputs[0][0].double()
            sums[name] = sums.get(name, 0) + (x**2).sum(0)
            grams[name] = grams.get(name, 0) + x.T @ x

        return add

    layer = reference.model.layers[2]
    modules = {"attn_q": layer.self_attn.q_proj, "attn_output": layer.self_attn.o_proj, "ffn_down": layer.mlp.down_proj}
    for name, module in modules.items():
        module.register_forward_pre_hook(hook(name))
    tokens = 0
    for window in parts:
        if left - tokens < 2:
            break
        ids = window.tokens[: left - tokens]
        tokens += len(ids)
        with torch.inference_mode():
            reference(torch.tensor([ids]), use_cache=False)
    found = Statistics(statistics)
    for name in modules:
        key = f"blk.2.{name}.weight"
        expected = (sums[name] / tokens).numpy()
        squares = found.mean_squares(key)
        np.testing.assert_allclose(squares[0], expected, rtol=2e-2, atol=1e-4 * expected.max())
        gram = grams[name].numpy()
        # The engine's KV cache is bfloat16 here.
        assert np.abs(found.gram(key, len(gram)) - gram).max() < 1e-2 * np.abs(gram).max()
    np.testing.assert_array_equal(found.mean_squares("blk.2.attn_v.weight"), found.mean_squares("blk.2.attn_q.weight"))


def divergence(tiny_q3e, tiny_model_path, path) -> float:
    with (
        qwen3edge.load(path, context=WINDOW, threads=1) as model,
        qwen3edge.load(tiny_q3e("f32"), context=WINDOW, threads=1) as reference,
    ):
        documents = read_documents(tiny_model_path / "heldout.jsonl", model.prompt_builder)[::12]
        return float(measure(model, list(windows(documents, WINDOW)), reference).kl.mean())


def test_convert_with_statistics(statistics, tiny_q3e, tiny_model_path, tmp_path):
    def made(name, quant="int4", **how) -> tuple[float, float]:
        report = convert(tiny_model_path, tmp_path / name, quant, threads=1, **how)
        return report.bits_per_weight, divergence(tiny_q3e, tiny_model_path, report.path)

    bits, plain = made("plain.q3e")
    _, weighed = made("weighed.q3e", imatrix=statistics)
    _, theirs = made("theirs.q3e", imatrix=statistics.with_suffix(".dat"))
    _, gptq = made("gptq.q3e", imatrix=statistics, quantizer="gptq")
    at_target, allocated = made("allocated.q3e", imatrix=statistics, target_bits=bits)
    flat = Recipe("flat", (Rule("token_embd.weight", "q6z32"), Rule("*", "q4z32")))
    _, unallocated = made("flat.q3e", flat, imatrix=statistics)
    print(plain, weighed, theirs, gptq, allocated, unallocated)
    assert weighed < plain
    assert theirs == weighed
    assert gptq < 0.6 * plain
    assert bits - 0.05 < at_target <= bits
    assert allocated < 0.95 * unallocated
    packed = [_core.ModelFile(str(tmp_path / n)).packed("blk.1.ffn_up.weight") for n in ("weighed.q3e", "theirs.q3e")]
    np.testing.assert_array_equal(*packed)


def test_sensitivities_are_those_of_each_matrix_alone(statistics, tiny_q3e):
    found = Statistics(statistics).sensitivities()
    names = {t["name"] for t in _core.ModelFile(str(tiny_q3e("f32"))).tensors() if t["format"] != "vector"}
    assert found.keys() == names
    assert all(0 < value < 1 for value in found.values())
    assert max(found, key=found.get) == "token_embd.weight"


def test_text_of_its_own(tiny_q3e, tmp_path):
    """The same again for the same model."""
    for name in ("a.npz", "b.npz"):
        report = calibrate(tiny_q3e("bf16"), tmp_path / name, Wanted(window=64, limit=128), threads=1)
        assert report.tokens == 128
    a, b = (Statistics(tmp_path / name).mean_squares("blk.3.ffn_down.weight") for name in ("a.npz", "b.npz"))
    np.testing.assert_array_equal(a, b)
    assert a.shape == (1, 768)


def test_experts_are_counted_one_by_one(tiny_moe_path, text, tmp_path):
    exact, few, many = tmp_path / "f32.q3e", tmp_path / "few.npz", tmp_path / "many.npz"
    config = convert(tiny_moe_path, exact, "f32", threads=1).config
    reports = {path: calibrate(exact, path, Wanted(text, 64, n), threads=1) for path, n in ((few, 2), (many, 2000))}
    for path, tokens in ((few, 2), (many, 2000)):
        unreached = reports[path].unreached
        with np.load(path) as found:
            for layer in range(config.layers):
                names = [f"blk.{layer}.{part}.weight" for part in ("ffn_gate_up_exps", "ffn_down_exps")]
                for name, columns in zip(names, (config.hidden_size, config.expert_ffn_size), strict=True):
                    counts = found[f"counts/{name}"]
                    assert found[f"sums/{name}"].shape == (config.experts, columns)
                    assert counts.sum() == tokens * config.experts_per_token
                    assert unreached.get(name, []) == list(np.flatnonzero(counts == 0))
    assert reports[few].unreached
    convert(tiny_moe_path, tmp_path / "int4.q3e", "int4", imatrix=few, threads=1)
    plain = convert(tiny_moe_path, tmp_path / "plain.q3e", "int4", threads=1)
    files = [_core.ModelFile(str(path)) for path in (tmp_path / "int4.q3e", plain.path)]
    name = "blk.0.ffn_gate_up_exps.weight"
    weighed, same = (f.packed(name).reshape(config.experts, -1) for f in files)
    missed = reports[few].unreached[name]
    np.testing.assert_array_equal(weighed[missed], same[missed])
    assert (weighed != same).any(axis=1).sum() == config.experts - len(missed)


def test_what_does_not_fit(statistics, tiny_int4, tiny_model_path, tmp_path, text):
    with pytest.raises(RequestError, match="f32 or bf16"):
        calibrate(tiny_int4, tmp_path / "x.npz", Wanted(text, 64, 200, sensitivities=True), threads=1)
    assert not list(tmp_path.iterdir())
    target = tmp_path / "out.q3e"
    with pytest.raises(RequestError, match="statistics"):
        convert(tiny_model_path, target, quantizer="gptq")
    with pytest.raises(RequestError, match="--gram"):
        convert(tiny_model_path, target, quantizer="gptq", imatrix=statistics.with_suffix(".dat"))
    with pytest.raises(RequestError, match="--sensitivity"):
        convert(tiny_model_path, target, target_bits=5, imatrix=statistics.with_suffix(".dat"))
    with pytest.raises(RequestError, match="at least"):
        convert(tiny_model_path, target, target_bits=4, imatrix=statistics)
    (tmp_path / "y.npz").write_bytes(statistics.read_bytes()[:-100])
    with pytest.raises(FileFormatError):
        convert(tiny_model_path, target, imatrix=tmp_path / "y.npz")
    assert not target.exists()
