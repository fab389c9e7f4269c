"""Packed rows times powers of two: the weights scale exactly, and what the range allows can be undone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3edge import _core
from qwen3edge.formats.row_scale import exponent_range, scale_rows

FORMATS = [f["name"] for f in _core.block_formats() if f["name"] != "vector"]


def matrix(seed: int, rows: int, columns: int) -> np.ndarray:
    """Rows of very different sizes, some of them zero."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((rows, columns)) * 2.0 ** rng.integers(-9, 6, (rows, 1))
    return (weights * (rng.random((rows, 1)) < 0.9)).astype(np.float32)


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([128, 256, 384, 640]))
def test_what_the_range_allows_is_exact(name, seed, rows, columns):
    weights = matrix(seed, rows, columns)
    packed = _core.quantize(name, weights)
    own = _core.dequantize(name, packed, rows, columns)
    low, high = exponent_range(name, packed, rows, columns)
    assert (low <= 0).all() and (high >= 0).all()
    rng = np.random.default_rng(seed)
    exponents = rng.integers(np.maximum(low, -20), np.minimum(high, 20) + 1).astype(np.int32)
    scaled = scale_rows(name, packed, columns, exponents)
    np.testing.assert_array_equal(_core.dequantize(name, scaled, rows, columns), np.ldexp(own, exponents[:, None]))
    np.testing.assert_array_equal(scale_rows(name, scaled, columns, -exponents), packed)


@pytest.mark.parametrize("name", ["q8", "q4z32", "q4a32", "q6z32"])
def test_beyond_the_range_a_scale_is_no_normal_number(name, seed):
    weights = np.random.default_rng(seed).standard_normal((16, 256)).astype(np.float32)
    packed = _core.quantize(name, weights)
    low, high = exponent_range(name, packed, 16, 256)
    scales = np.abs(packed[: 2 * 16].view("<f2").astype(np.float32))  # the first plane: d of the only block, or of one
    assert (low > -30).all() and (high < 30).all()
    smallest = np.ldexp(scales, low - 1)
    assert name == "q4a32" or (smallest < 2.0**-14).all()
    assert name == "q4a32" or (np.ldexp(scales, high + 1) >= 2.0**16).all()


def test_zeros_allow_anything_and_subnormal_scales_nothing_smaller():
    weights = np.zeros((16, 256), np.float32)
    weights[1] = 1e-4  # a scale of 8e-7, below float16's normal numbers
    packed = _core.quantize("q8", weights)
    low, high = exponent_range("q8", packed, 16, 256)
    assert low[0] < -30 and high[0] > 30
    assert low[1] == 0 and high[1] > 10


def test_vectors():
    values = np.array([0.0, 1.5, -3.0, 2.0**-126, 2.0**127], np.float32)
    packed = values.view(np.uint8)
    low, high = exponent_range("vector", packed, 5, 5)
    assert low[3] == 0 and high[4] == 0 and low[1] == -126
    exponents = np.array([7, -3, 4, 2, -1], np.int32)
    scaled = scale_rows("vector", packed, 5, exponents)
    np.testing.assert_array_equal(scaled.view("<f4"), np.ldexp(values, exponents))
    np.testing.assert_array_equal(scale_rows("vector", scaled, 5, -exponents), packed)
