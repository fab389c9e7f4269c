from dataclasses import FrozenInstanceError, asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3edge.errors import FileFormatError, RequestError
from qwen3edge.generation.sampler import SamplingDefaults, SamplingParameters, chosen_seed

LOGITS = np.linspace(-3, 3, 50, dtype=np.float32)


def test_qwens_advice():
    defaults = SamplingDefaults.from_metadata({})
    assert asdict(defaults.choose(True))["temperature"] == 0.6
    assert asdict(defaults.choose(False)) == {
        "temperature": 0.7, "top_k": 20, "top_p": 0.8, "min_p": 0.0, "presence_penalty": 0.0, "repetition_penalty": 1.0
    }  # fmt: skip


def test_the_files_own_values():
    keys = {"qwen3edge.sampling.direct.temperature": 1.5, "qwen3edge.sampling.thinking.top_k": 7}
    defaults = SamplingDefaults.from_metadata(keys)
    assert (defaults.direct.temperature, defaults.thinking.top_k) == (1.5, 7)
    assert defaults.thinking.temperature == 0.6


def test_thinking_is_greedy_only_if_asked_for():
    defaults = SamplingDefaults.from_metadata({"qwen3edge.sampling.thinking.temperature": 0.0})
    assert defaults.thinking.temperature == 0.6
    assert defaults.thinking.override(temperature=0).temperature == 0


@pytest.mark.parametrize("value", [float("nan"), -1, "x", [1], True])
def test_file_with_values_out_of_range(value):
    with pytest.raises(FileFormatError, match="direct"):
        SamplingDefaults.from_metadata({"qwen3edge.sampling.direct.top_p": value})


@given(st.sampled_from(["temperature", "top_p", "min_p", "presence_penalty", "repetition_penalty"]), st.floats())
def test_numbers_are_in_range_or_refused(name, value):
    try:
        parameters = SamplingParameters().override(**{name: value})
    except RequestError:
        return
    token = parameters.sampler(50, 1).sample(LOGITS)
    assert 0 <= token < 50


def test_frozen_and_known_names():
    with pytest.raises(FrozenInstanceError):
        SamplingParameters().temperature = 1
    with pytest.raises(RequestError, match="temp"):
        SamplingParameters().override(temp=1)
    assert SamplingParameters().override(top_k=None) == SamplingParameters()


@given(st.lists(st.tuples(st.integers(0, 49), st.booleans()), max_size=30), st.integers(0, 30))
def test_penalties_forget_what_was_cut(accepted, length):
    """As if it had never been there."""
    parameters = SamplingParameters(temperature=0, repetition_penalty=1.5, presence_penalty=0.5)
    cut, fresh = parameters.sampler(50, 1), parameters.sampler(50, 1)
    for token, generated in accepted:
        cut.accept(token, generated)
    cut.truncate(length)
    for token, generated in accepted[:length]:
        fresh.accept(token, generated)
    for logits in (LOGITS, np.ones(50, np.float32), np.eye(1, 50, 7, np.float32)[0]):
        assert cut.sample(logits) == fresh.sample(logits)


def test_greedy_and_seeds():
    assert SamplingParameters(temperature=0).sampler(50, chosen_seed(None)).sample(LOGITS) == 49
    draws = [
        [sampler.sample(LOGITS) for _ in range(20)]
        for sampler in (SamplingParameters(temperature=5).sampler(50, seed) for seed in (1, 1, 2))
    ]
    assert draws[0] == draws[1] != draws[2]
