"""GPTQ lowers the error of what the layer computes, and says the same bytes in any slicing."""

import numpy as np
import pytest

from qwen3edge import _core
from qwen3edge.convert.gptq import inverse_factor, pack_with_factor
from qwen3edge.formats.blocks import BLOCK_FORMATS

ROWS, TOKENS = 48, 2000
FORMATS = [name for name, fmt in BLOCK_FORMATS.items() if fmt.block]
# The error of the layer's results as a share of rounding to the nearest; of 8 bits little is left to gain.
AT_MOST = {"q8": 0.8, "q8g32": 0.8, "q6z32": 0.7}


def correlated(rng: np.random.Generator, columns: int) -> np.ndarray:
    """Activations [TOKENS, columns] as in a network: a few directions hold most of them, a few columns are large."""
    few = rng.standard_normal((TOKENS, 24)) @ rng.standard_normal((24, columns))
    x = few + 0.3 * rng.standard_normal((TOKENS, columns))
    return (x * np.exp(0.5 * rng.standard_normal(columns))).astype(np.float32)


def result_error(x, w, stored) -> float:
    return float(np.square(x @ (stored - w).T).sum())


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("columns", [384, 640])
def test_results_err_less_than_with_nearest_codes(name, columns, seed):
    rng = np.random.default_rng(seed)
    w = (rng.standard_normal((ROWS, columns)) * 0.02).astype(np.float32)
    x = correlated(rng, columns)
    packed = pack_with_factor(BLOCK_FORMATS[name], w, inverse_factor(x.T @ x))
    assert packed.nbytes == _core.packed_nbytes(name, *w.shape)
    gptq = _core.dequantize(name, packed, *w.shape)
    nearest = _core.dequantize(name, _core.quantize(name, w), *w.shape)
    assert result_error(x, w, gptq) < AT_MOST.get(name, 0.6) * result_error(x, w, nearest)


def test_without_correlation_codes_are_the_nearest(seed):
    rng = np.random.default_rng(seed)
    w = (rng.standard_normal((ROWS, 512)) * 0.02).astype(np.float32)
    packed = pack_with_factor(BLOCK_FORMATS["q4g32"], w, inverse_factor(np.eye(512)))
    nearest = _core.dequantize("q4g32", _core.quantize("q4g32", w), *w.shape)
    np.testing.assert_array_equal(_core.dequantize("q4g32", packed, *w.shape), nearest)


@pytest.mark.parametrize("name", ["q4z32", "q4z64", "q6z32", "q4a32"])
def test_rows_are_independent(name, seed):
    """Also the last ones, which do not fill a panel; columns that were always zero do no harm."""
    rng = np.random.default_rng(seed)
    w = (rng.standard_normal((37, 320)) * 0.02).astype(np.float32)
    w[5] = 0
    x = correlated(rng, 320)
    x[:, 7] = 0
    factor = inverse_factor(x.T @ x)
    whole = pack_with_factor(BLOCK_FORMATS[name], w, factor)
    parts = [pack_with_factor(BLOCK_FORMATS[name], w[start : start + 16], factor) for start in (0, 16, 32)]
    a = _core.dequantize(name, whole, *w.shape)
    b = _core.dequantize(name, np.concatenate(parts), *w.shape)
    assert np.isfinite(a).all()
    assert not a[5].any()
    # BLAS sums in another order for other shapes: single codes may fall on the other side of a tie.
    assert result_error(x, w, b) == pytest.approx(result_error(x, w, a), rel=0.05)
