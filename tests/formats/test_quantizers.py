"""The core's quantizers against the NumPy oracle by ==, on every instruction set; how good they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qwen3edge import _core
from qwen3edge.errors import RequestError
from qwen3edge.formats import blocks
from tests.formats.test_blocks import awkward_rows
from tests.reference import blocks as reference
from tests.reference import quantizers

FORMATS = [name for name in blocks.BLOCK_FORMATS if name != "vector"]
QUANTIZED = [name for name in FORMATS if blocks.BLOCK_FORMATS[name].block]
COLUMNS = (32, 96, 128, 256, 288, 544, 640, 896)


@pytest.mark.parametrize("name", FORMATS)
def test_core_equals_oracle(name, seed):
    for columns in COLUMNS:
        if not reference.holds_columns(blocks.block_format(name), columns):
            continue
        w = awkward_rows(seed, columns)
        expected = quantizers.quantize(name, w)
        assert expected.nbytes == _core.packed_nbytes(name, *w.shape)
        counts = np.exp(np.random.default_rng(seed).standard_normal(columns)).astype(np.float32)
        weighed = quantizers.quantize(name, w, counts)
        for isa in _core.isa_tiers():
            np.testing.assert_array_equal(_core.quantize(name, w, isa=isa), expected, f"{columns} columns, {isa}")
            np.testing.assert_array_equal(_core.quantize(name, w, isa=isa, importance=counts), weighed, isa)
        values = reference.dequantize(name, expected, *w.shape)
        np.testing.assert_array_equal(_core.dequantize(name, expected, *w.shape), values)


@settings(max_examples=15, deadline=None)
@given(data=st.data(), name=st.sampled_from(QUANTIZED))
def test_core_equals_oracle_on_any_values(data, name):
    columns = 2 * max(blocks.BLOCK_FORMATS[name].group, 32)
    elements = st.floats(-1000, 1000, width=32)
    w = data.draw(hnp.arrays(np.float32, (data.draw(st.integers(1, 3)), columns), elements=elements, fill=elements))
    expected = quantizers.quantize(name, w)
    for isa in _core.isa_tiers():
        np.testing.assert_array_equal(_core.quantize(name, w, isa=isa), expected)


def q4_0(w: np.ndarray) -> np.ndarray:
    """GGUF's Q4_0: 4.5 bits, the scale from the weight of largest magnitude."""
    groups = w.reshape(-1, 32)
    top = groups[np.arange(len(groups)), np.abs(groups).argmax(axis=1)]
    d = top / -8
    q = np.clip(np.floor(groups / np.where(d == 0, 1, d)[:, None] + 8.5), 0, 15)
    return (d.astype(np.float16).astype(np.float32)[:, None] * (q - 8)).reshape(w.shape)


# Mean squared error as a share of Q4_0's at 4.5 bits, on normal and on heavy-tailed weights. Measured on 2^19 weights:
# q4z32 0.67 and 0.55, q4z64 0.90 and 0.87, q4g32 0.88 and 0.92, q4a32 0.65 and 0.52, q6z32 0.056 and 0.053,
# q8g32 0.0033 and 0.0035.
AT_MOST = {
    "q4z32": (0.69, 0.60),
    "q4z64": (0.93, 0.95),
    "q4g32": (0.91, 0.95),
    "q4a32": (0.67, 0.57),
    "q4a64": (0.92, 0.95),
    "q6z32": (0.06, 0.06),
    "q8": (0.007, 0.03),
    "q8g32": (0.0036, 0.0038),
}


@pytest.mark.parametrize("name", AT_MOST)
def test_error_against_rounding_to_the_largest(name, seed):
    rng = np.random.default_rng(seed)
    # Clipped, or now and then a single weight would decide the mean: a scale of q8 serves 256 weights, one of Q4_0 32.
    tailed = np.clip(rng.standard_t(4, (64, 2048)), -12, 12)
    for limit, w in zip(AT_MOST[name], (rng.standard_normal((64, 2048)), tailed), strict=True):
        w = (w * 0.02).astype(np.float32)  # noqa: PLW2901
        error = np.mean((_core.dequantize(name, _core.quantize(name, w), *w.shape) - w) ** 2)
        assert error <= limit * np.mean((q4_0(w) - w) ** 2)


def weighted_error(name: str, w: np.ndarray, importance: np.ndarray | None, counts: np.ndarray) -> float:
    stored = _core.dequantize(name, _core.quantize(name, w, importance=importance), *w.shape)
    return float((((stored - w) ** 2) @ counts).sum())


@pytest.mark.parametrize("name", QUANTIZED)
def test_importance_moves_the_error_to_columns_that_count_less(name, seed):
    rng = np.random.default_rng(seed)
    w = (rng.standard_normal((64, 512)) * 0.02).astype(np.float32)
    counts = np.exp(1.5 * rng.standard_normal(512)).astype(np.float32)
    weighed = weighted_error(name, w, counts, counts)
    # int8's largest weight fixes the scale to a few candidates, the others' range is free.
    assert weighed <= (1 if name.startswith("q8") else 0.93) * weighted_error(name, w, None, counts)
    same = _core.quantize(name, w, importance=np.full(512, 4, np.float32))
    if not name.startswith("q4a"):  # whose mean divides by the sum of the counts
        np.testing.assert_array_equal(same, _core.quantize(name, w))


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf, 2e6])
def test_importance_out_of_range(bad):
    importance = np.ones(256, np.float32)
    importance[77] = bad
    with pytest.raises(RequestError, match="column 77"):
        _core.quantize("q4z32", np.zeros((16, 256), np.float32), importance=importance)
    with pytest.raises(RequestError, match="256 columns"):
        _core.quantize("q4z32", np.zeros((16, 256), np.float32), importance=importance[1:])
