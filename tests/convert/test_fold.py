"""Powers of two moved from keys to queries: which ones, and that nothing but the rounding of the cache sees them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert import convert, export_compressed, export_gguf
from qwen3edge.convert.fold import wanted_exponents, within
from qwen3edge.convert.names import model_tensors
from qwen3edge.errors import FileFormatError
from qwen3edge.formats.key_fold import EXPONENTS_KEY, OUTLIERS_KEY, KeyFold
from qwen3edge.formats.safetensors import SafetensorsFolder
from tests.checkpoints import run
from tests.convert.small_checkpoint import CONFIG, MOE, QWEN2, random_tensors, write
from tests.own_weights import OwnWeights

FORMATS = [f["name"] for f in _core.block_formats() if f["name"] != "vector"]
WIDE = {"hidden_size": 256, "intermediate_size": 256}
MODELS = {
    "qwen3": CONFIG | WIDE,
    "qwen2": QWEN2 | WIDE | {"num_attention_heads": 8, "num_key_value_heads": 2},
    "moe": MOE,
}


def with_outliers(config: dict, seed: int) -> dict[str, np.ndarray]:
    """Pairs of key channels that are 2^3 to 2^5 times as large as the others, and unequal queries."""
    tensors, rng = random_tensors(config, seed), np.random.default_rng(seed)
    shape = ModelConfig.from_hf(config)
    half = shape.head_size // 2
    for layer in range(shape.layers):
        attention = f"model.layers.{layer}.self_attn."
        for pair in rng.choice(half, 3, replace=False):
            factor = np.float32(2.0 ** rng.integers(3, 6))
            for channel in (pair, pair + half):
                if shape.qk_norm:
                    tensors[f"{attention}k_norm.weight"][channel] *= factor
                else:
                    tensors[f"{attention}k_proj.weight"][channel :: shape.head_size] *= factor
                    tensors[f"{attention}k_proj.bias"][channel :: shape.head_size] *= factor
    return tensors


def unfolded(monkeypatch, *arguments, **keywords):
    """A conversion that moves nothing."""
    with monkeypatch.context() as patched:
        patched.setattr("qwen3edge.convert.checkpoint.choose_fold", lambda config, *_: KeyFold.none(config))
        return convert(*arguments, **keywords, allow_missing_tokenizer=True)


def logits(path, kv: str) -> np.ndarray:
    engine = _core.Engine(_core.ModelFile(str(path)), context=64, kv=kv, threads=1)
    return run(engine, np.arange(40) % 50)


@pytest.mark.parametrize("quant", FORMATS)
@pytest.mark.parametrize("name", MODELS)
def test_logits_with_exact_caches_are_the_same(name, quant, tmp_path, seed, monkeypatch):
    folder = write(tmp_path, MODELS[name], with_outliers(MODELS[name], seed))
    convert(folder, tmp_path / "folded.q3e", quant, allow_missing_tokenizer=True)
    unfolded(monkeypatch, folder, tmp_path / "plain.q3e", quant)
    file = _core.ModelFile(str(tmp_path / "folded.q3e"))
    config = ModelConfig.from_metadata(file)
    assert np.abs(KeyFold.read(file, config).exponents).max() >= 1
    file.verify()
    for kv in ("f32", "bf16"):
        np.testing.assert_array_equal(logits(tmp_path / "folded.q3e", kv), logits(tmp_path / "plain.q3e", kv))
    plain, own = _core.ModelFile(str(tmp_path / "plain.q3e")), OwnWeights(file)
    for tensor in plain.tensors():
        np.testing.assert_array_equal(own.packed(tensor["name"]), plain.packed(tensor["name"]))


@pytest.mark.parametrize("name", MODELS)
def test_exports_undo_it(name, tmp_path, seed, monkeypatch):
    config = MODELS[name]
    tensors = with_outliers(config, seed)
    folder = write(tmp_path, config, tensors)
    convert(folder, tmp_path / "folded.q3e", "f32", allow_missing_tokenizer=True)
    unfolded(monkeypatch, folder, tmp_path / "plain.q3e", "f32")
    for source in ("folded", "plain"):
        export_gguf(tmp_path / f"{source}.q3e", tmp_path / f"{source}.gguf")
        export_compressed(tmp_path / f"{source}.q3e", tmp_path / source)
    assert (tmp_path / "folded.gguf").read_bytes() == (tmp_path / "plain.gguf").read_bytes()
    with SafetensorsFolder(tmp_path / "folded") as found:
        for tensor in model_tensors(ModelConfig.from_hf(config)):
            if not tensor.holds_experts:
                values = found.read_rows(tensor.source, 0, found.shape(tensor.source)[0])
                np.testing.assert_array_equal(values, tensors[tensor.source])
    convert(tmp_path / "folded.gguf", tmp_path / "again.q3e", "f32", allow_missing_tokenizer=True)
    first, again = (_core.ModelFile(str(tmp_path / f"{n}.q3e")) for n in ("folded", "again"))
    assert first.get(EXPONENTS_KEY) == again.get(EXPONENTS_KEY)


@pytest.mark.parametrize("name", ["qwen3", "qwen2"])
def test_keys_with_outliers_become_even(name, tmp_path, seed):
    """What the factors did to one side alone they share afterwards; the int8 cache no longer notices."""
    folder = write(tmp_path, MODELS[name], with_outliers(MODELS[name], seed))
    convert(folder, tmp_path / "folded.q3e", "f32", allow_missing_tokenizer=True)
    file = _core.ModelFile(str(tmp_path / "folded.q3e"))
    assert 1 <= file.get(OUTLIERS_KEY) < 2.0**3.5  # of 2^5 and some unevenness of its own


def test_scales_stay_normal_numbers(tmp_path, seed):
    """Weights so small that float16 can hold no smaller scales: the exponents give way."""
    config = MODELS["qwen2"]
    tensors = with_outliers(config, seed)
    for name in tensors:
        if "k_proj" in name and name.endswith("weight"):
            tensors[name] *= np.float32(2.0**-6)
    folder = write(tmp_path, config, tensors)
    convert(folder, tmp_path / "q8.q3e", "q8", allow_missing_tokenizer=True)
    file = _core.ModelFile(str(tmp_path / "q8.q3e"))
    own = OwnWeights(file)
    for side in "qk":
        name = f"blk.0.attn_{side}.weight"
        stored, plain = (scales_of(panels) for panels in (file.packed(name), own.packed(name)))
        assert (stored != plain).any()
        assert ((stored >= 2.0**-14) | (plain < 2.0**-14)).all()


def scales_of(packed: np.ndarray) -> np.ndarray:
    """|d| of rows of 256 weights in q8: the first plane of a panel, of one block."""
    panels = packed.reshape(-1, _core.packed_nbytes("q8", 16, 256))
    return np.abs(np.ascontiguousarray(panels[:, :32]).view("<f2").astype(np.float32))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(2, 16))
def test_the_rule(seed, groups, pairs):
    rng = np.random.default_rng(seed)
    keys, queries = (2.0 ** rng.normal(0, 2, (groups, pairs)) for _ in range(2))
    keys[rng.random(keys.shape) < 0.1] = 0
    exponents = wanted_exponents(keys, queries)
    for group in range(groups):
        known = keys[group] > 0
        if not known.any():
            assert not exponents[group].any()
            continue
        ratio = keys[group][known] / queries[group][known]
        half = 0.5 * np.log2(ratio / 2.0 ** np.median(np.log2(ratio)))
        assert np.abs(exponents[group][known] - half).max() <= 0.5 + 1e-9
        assert not exponents[group][~known].any()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-8, 8), st.integers(-9, 0), st.integers(0, 9)), min_size=1, max_size=8))
def test_limits(rows):
    wanted, low, high = (np.array([column], np.int32) for column in zip(*rows, strict=True))
    found = within(wanted, low, high)
    assert (found >= low).all() and (found <= high).all()

    def cut(move: int) -> int:
        return int(np.abs(np.clip(wanted + move, low, high) - (wanted + move)).sum())

    best = min(cut(move) for move in range(-20, 21))
    assert any(cut(move) == best and (found == np.clip(wanted + move, low, high)).all() for move in range(-20, 21))
    if (wanted >= low).all() and (wanted <= high).all():
        np.testing.assert_array_equal(found, wanted)


def test_damaged_exponents_are_refused():
    config = ModelConfig.from_hf(CONFIG)
    for stored in ([0] * 3, [99] * 32, [0.5] * 32):
        with pytest.raises(FileFormatError, match="expected 32 integers from -30 to 30, found"):
            KeyFold.read({EXPONENTS_KEY: stored}, config)
