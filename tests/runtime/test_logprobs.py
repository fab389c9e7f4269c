"""Log probabilities of the core against NumPy's in float64, and their bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3edge import _core
from qwen3edge.errors import RequestError
from qwen3edge.sampling import MAX_TOP_LOGPROBS
from tests.reference import sampler as reference

VALUES = st.sampled_from([0.0, -0.0, 1.5, 1.5, -30.0, -100.0, 1e4, 3e38, -3e38, -np.inf, np.nan, np.inf])


def assert_right(logits, usable, token, top):
    sampler = _core.Sampler(vocabulary=len(logits), usable=usable, temperature=0.1, logit_bias={0: -100}, seed=1)
    sampler.accept(0)  # nothing of this counts
    if not (logits[:usable] > -np.inf).any():
        with pytest.raises(RequestError, match="logits: expected at least one above -infinity"):
            sampler.logprobs(logits, token, top)
        return
    expected = reference.logprobs(logits, usable)
    found, best = sampler.logprobs(logits, token, top)
    assert found == pytest.approx(expected[token] if token < usable else -np.inf, rel=1e-13, abs=1e-13)
    values = np.where(np.isnan(logits), -np.inf, logits)[:usable]
    order = [int(each) for each in np.argsort(-values, kind="stable") if values[each] > -np.inf][:top]
    assert [each for each, _ in best] == order
    assert [value for _, value in best] == pytest.approx(expected[order].tolist(), rel=1e-13, abs=1e-13)


@given(
    st.lists(VALUES | st.floats(-40, 40, width=32), min_size=1, max_size=150),
    st.integers(0, MAX_TOP_LOGPROBS),
    st.data(),
)
def test_any_logits(values, top, data):
    logits = np.array(values, np.float32)
    usable = data.draw(st.integers(1, len(values)) | st.just(len(values)))
    assert_right(logits, usable, data.draw(st.integers(0, len(values) - 1)), top)


@pytest.mark.parametrize("scale", [0.01, 3, 1000])
def test_a_whole_vocabulary(scale, seed):
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal(151936) * scale).astype(np.float32)
    for token in (0, 151668, 151935, int(np.argmax(logits))):
        assert_right(logits, 151669, token, 20)


def test_probabilities_add_up(seed):
    logits = (np.random.default_rng(seed).standard_normal(20) * 5).astype(np.float32)
    _, best = _core.Sampler(vocabulary=20).logprobs(logits, 0, 20)
    assert sum(np.exp(value) for _, value in best) == pytest.approx(1, abs=1e-14)
    assert _core.Sampler(vocabulary=20).logprobs(logits, 3) == (dict(best)[3], [])


def test_the_same_bits_on_every_machine():
    """Of logits that no library computes."""
    numbers = np.arange(4099, dtype=np.int64) * 2654435761 % 2**32
    logits = (numbers.astype(np.float64) * 2.0**-27 - 16).astype(np.float32)
    sampler = _core.Sampler(vocabulary=4099)
    found = [sampler.logprobs(logits, token)[0].hex() for token in (0, 1, 2, 4098)]
    assert found == ["-0x1.26d48fb9e9fafp+5", "-0x1.113a2bf3d3f5ep+4", "-0x1.d4cb3873d3f5ep+4", "-0x1.cb2a30e7a7ebbp+3"]


def test_more_than_can_be_asked_for():
    with pytest.raises(RequestError, match="top_logprobs: expected 0 to 20, found 21"):
        _core.Sampler(vocabulary=100).logprobs(np.zeros(100, np.float32), 0, 21)
