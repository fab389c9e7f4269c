"""Experts: whichever layout a checkpoint has, the file is the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert import convert
from qwen3edge.convert.experts import StackedExperts, checkpoint_shapes
from qwen3edge.convert.names import model_tensors
from qwen3edge.errors import CheckpointError
from tests.convert.small_checkpoint import MOE, random_tensors, write

CONFIG = ModelConfig.from_hf(MOE)
EXPERTS, FFN, HIDDEN = CONFIG.experts, CONFIG.expert_ffn_size, CONFIG.hidden_size


class Source:
    """Tensors in memory."""

    def __init__(self, tensors):
        self.tensors = tensors

    def names(self):
        return list(self.tensors)

    def shape(self, name):
        return self.tensors[name].shape

    def read_rows(self, name, start, stop):
        tensor = self.tensors[name]
        assert 0 <= start <= stop
        rows = tensor if tensor.ndim == 1 else tensor.reshape(-1, tensor.shape[-1])
        assert stop <= len(rows)
        return rows[start:stop]


def projections(tensors, layer, name):
    """[experts, rows, columns]"""
    experts = f"model.layers.{layer}.mlp.experts."
    return np.stack([tensors[f"{experts}{e}.{name}_proj.weight"] for e in range(EXPERTS)])


def interleaved(gate, up):
    """Panels of 16 rows of an expert: gate, up, gate, up."""
    rows = []
    for e in range(EXPERTS):
        for p in range(0, FFN, 16):
            rows += [gate[e, p : p + 16], up[e, p : p + 16]]
    return np.concatenate(rows)


def without_experts(tensors):
    return {name: t for name, t in tensors.items() if ".experts." not in name}


def fused(tensors):
    """As transformers holds them."""
    out = without_experts(tensors)
    for n in range(CONFIG.layers):
        experts = f"model.layers.{n}.mlp.experts."
        gate_up = [projections(tensors, n, name) for name in ("gate", "up")]
        out[f"{experts}gate_up_proj"] = np.concatenate(gate_up, axis=1)
        out[f"{experts}down_proj"] = projections(tensors, n, "down")
    return out


def stacked(tensors):
    """As GGUF has them."""
    out = without_experts(tensors)
    for n in range(CONFIG.layers):
        for name in ("gate", "up", "down"):
            out[f"blk.{n}.ffn_{name}_exps.weight"] = projections(tensors, n, name)
    return out


def bare(tensors):
    return {name.removeprefix("model."): t for name, t in tensors.items()}


TENSORS = random_tensors(MOE, 11)
LAYOUTS = {
    "apart": TENSORS,
    "fused": fused(TENSORS),
    "stacked": stacked(TENSORS),
    "bare": bare(TENSORS),
    "bare fused": bare(fused(TENSORS)),
}


def test_names_of_a_checkpoint():
    shapes = checkpoint_shapes(CONFIG)
    assert len(shapes) == 2 + 2 * (9 + 3 * EXPERTS)
    assert shapes["model.layers.1.mlp.gate.weight"] == (EXPERTS, HIDDEN)
    assert shapes["model.layers.1.mlp.experts.4.gate_proj.weight"] == (FFN, HIDDEN)
    assert shapes["model.layers.1.mlp.experts.4.down_proj.weight"] == (HIDDEN, FFN)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(data=st.data())
def test_any_rows(layout, data):
    source = StackedExperts(Source(LAYOUTS[layout]), CONFIG)
    layer = data.draw(st.integers(0, CONFIG.layers - 1))
    prefix = ("" if "bare" in layout else "model.") + f"layers.{layer}.mlp.experts."
    gate, up, down = (projections(TENSORS, layer, name) for name in ("gate", "up", "down"))
    for name, expected in (("gate_up", interleaved(gate, up)), ("down", down.reshape(-1, FFN))):
        assert source.shape(prefix + name) == expected.shape
        start = data.draw(st.integers(0, len(expected) - 1))
        stop = data.draw(st.integers(start + 1, len(expected)))
        np.testing.assert_array_equal(source.read_rows(prefix + name, start, stop), expected[start:stop])


@pytest.mark.parametrize("quant", ["int4", "f32"])
def test_every_layout_gives_the_same_file(tmp_path, quant):
    written = []
    for layout in ("apart", "fused", "bare"):
        folder = write(tmp_path / layout, MOE, LAYOUTS[layout])
        convert(folder, folder / "m.q3e", quant, name="x", allow_missing_tokenizer=True)
        written.append((folder / "m.q3e").read_bytes())
    assert written[0] == written[1] == written[2]
    file = _core.ModelFile(str(folder / "m.q3e"))
    file.verify()
    formats = {t["name"]: t["format"] for t in file.tensors()}
    assert formats["blk.0.ffn_gate_inp.weight"] == "f32"
    np.testing.assert_array_equal(
        file.dequantize("blk.0.ffn_gate_inp.weight"), TENSORS["model.layers.0.mlp.gate.weight"]
    )
    if quant == "f32":
        expected = interleaved(projections(TENSORS, 1, "gate"), projections(TENSORS, 1, "up"))
        np.testing.assert_array_equal(file.dequantize("blk.1.ffn_gate_up_exps.weight"), expected)
    else:
        assert (
            formats["blk.0.ffn_gate_up_exps.weight"] == formats["blk.0.ffn_down_exps.weight"] == "q4g32"
        )  # narrow rows


def test_parts_of_different_types():
    tensors = dict(TENSORS)
    name = "model.layers.0.mlp.experts.2.up_proj.weight"
    tensors[name] = (TENSORS[name].view(np.uint32) >> 16).astype(np.uint16)  # bfloat16
    source = StackedExperts(Source(tensors), CONFIG)
    rows = source.read_rows("model.layers.0.mlp.experts.gate_up", 0, EXPERTS * 2 * FFN)
    assert rows.dtype == np.float32
    up = projections(TENSORS, 0, "up")
    up[2] = (tensors[name].astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(rows, interleaved(projections(TENSORS, 0, "gate"), up))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_absent_and_misshapen_experts(layout):
    tensors = LAYOUTS[layout]
    for name in [n for n in tensors if "exp" in n][-4:]:
        others = {n: t for n, t in tensors.items() if n != name}
        with pytest.raises(CheckpointError, match="expected the tensor"):
            StackedExperts(Source(others), CONFIG)
        with pytest.raises(CheckpointError, match=r"expected the shape \[.*found \["):
            StackedExperts(Source(others | {name: tensors[name][:-1]}), CONFIG)


def test_more_experts_than_the_config_has(tmp_path):
    extra = TENSORS | {"model.layers.0.mlp.experts.5.up_proj.weight": TENSORS["model.norm.weight"]}
    folder = write(tmp_path, MOE, extra)
    with pytest.raises(CheckpointError, match=r"does not account for .*experts\.5\.up_proj"):
        convert(folder, tmp_path / "m.q3e", "f32", allow_missing_tokenizer=True)
    assert not (tmp_path / "m.q3e").exists()


def test_the_tensors_of_a_file_are_fewer():
    names = [t.name for t in model_tensors(CONFIG) if t.holds_experts]
    assert names == [f"blk.{n}.ffn_{kind}_exps.weight" for n in (0, 1) for kind in ("gate_up", "down")]
