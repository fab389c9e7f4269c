"""Loss by layer: what each layer's weights alone cost, and what they cost one after the other."""

import shutil
from pathlib import Path

import pytest

import qwen3edge
from qwen3edge import _core
from qwen3edge.convert import Recipe, Rule, convert
from qwen3edge.errors import RequestError
from qwen3edge.evaluate.by_layer import KV, loss_by_layer
from qwen3edge.evaluate.measure import measure
from qwen3edge.evaluate.texts import read_documents, windows

PARTS = ["embedding", "layer 0", "layer 1", "layer 2", "layer 3"]


@pytest.fixture(scope="module")
def parts(tiny_q3e, tiny_model_path):
    with qwen3edge.load(tiny_q3e("f32"), context=64, threads=1) as model:
        documents = read_documents(tiny_model_path / "heldout.jsonl", model.prompt_builder)
    return list(windows(documents[:3], 100))


def test_only_the_quantized_layer_loses(parts, tiny_q3e, tiny_model_path, tmp_path):
    recipe = Recipe("layer 2", (Rule("blk.2.*", "q4g128"), Rule("*", "f32")))
    convert(tiny_model_path, tmp_path / "one.q3e", recipe)
    found = loss_by_layer(tmp_path / "one.q3e", tiny_q3e("f32"), parts, threads=1)
    assert [loss.part for loss in found] == PARTS
    assert [loss.kl_alone > 0 for loss in found] == [part == "layer 2" for part in PARTS]
    assert [loss.kl_up_to for loss in found] == [0, 0, 0, found[3].kl_alone, found[3].kl_alone]
    assert [loss.bits_per_weight for loss in found] == [32, 32, 32, 4.125, 32]


def test_all_layers_together_are_the_model_s_weights(parts, tiny_q3e, tiny_int4, tmp_path):
    """Against a copy in which the test has written the dequantized matrices."""
    exact, file = tiny_q3e("f32"), _core.ModelFile(str(tiny_int4))
    wide = tmp_path / "wide.q3e"
    shutil.copyfile(exact, wide)
    with wide.open("r+b") as out:
        for t in _core.ModelFile(str(exact)).tensors():
            if t["format"] != "vector":
                out.seek(t["offset"])
                out.write(_core.quantize("f32", file.dequantize(t["name"])).data)
    steps: list[tuple[str, int, int]] = []
    found = loss_by_layer(tiny_int4, exact, parts, threads=1, progress=lambda *step: steps.append(step))
    with (
        qwen3edge.load(wide, context=100, threads=1, kv=KV) as model,
        qwen3edge.load(exact, context=100, threads=1, kv=KV) as reference,
    ):
        expected = measure(model, parts, reference).kl.mean(dtype="float64")
    assert found[-1].kl_up_to == expected
    assert found[0].kl_up_to == found[0].kl_alone
    assert len({loss.kl_up_to for loss in found}) == len(PARTS)
    assert all(loss.kl_alone > 0 for loss in found)
    assert steps[0] == ("embedding", 1, 9)
    assert steps[-1] == ("up to layer 3", 9, 9)


def test_files_that_are_not_of_one_model(parts, tiny_q3e, tiny_int4, tiny_moe_path, tmp_path):
    with pytest.raises(RequestError, match="expected a model in f32 or bf16"):
        loss_by_layer(tiny_int4, tiny_int4, parts, threads=1)
    convert(tiny_moe_path, tmp_path / "other.q3e", "bf16", allow_missing_tokenizer=True)
    with pytest.raises(RequestError, match="reference: expected the matrices of"):
        loss_by_layer(tiny_int4, tmp_path / "other.q3e", parts, threads=1)
    assert not list(Path(tiny_int4).parent.glob("qwen3edge-*"))
