from dataclasses import FrozenInstanceError, asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3edge.errors import FileFormatError, RequestError
from qwen3edge.generation.sampler import SamplingDefaults, SamplingParameters, chosen_seed
from qwen3edge.sampling import MAX_BIASES, RANGES

LOGITS = np.linspace(-3, 3, 50, dtype=np.float32)


def test_qwens_advice():
    defaults = SamplingDefaults.from_metadata({})
    assert asdict(defaults.choose(True))["temperature"] == 0.6
    assert defaults.choose(False).numbers == {
        "temperature": 0.7, "top_k": 20, "top_p": 0.8, "min_p": 0.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
    }  # fmt: skip
    assert defaults.choose(False).logit_bias == ()


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


@given(st.sampled_from(sorted(RANGES.keys() - {"logit_bias"})), st.floats())
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


RUNS = st.tuples(st.integers(0, 49), st.booleans(), st.integers(1, 70))


@given(st.lists(RUNS, max_size=10), st.integers(0, 200), st.integers(0, 2**64 - 1))
def test_penalties_and_draws_forget_what_was_cut(runs, length, seed):
    """As if it had never been there."""
    accepted = [(token, generated) for token, generated, times in runs for _ in range(times)]
    parameters = SamplingParameters(
        temperature=2, repetition_penalty=1.5, presence_penalty=0.5, frequency_penalty=0.125, logit_bias={3: 2, 40: -1}
    )
    cut, fresh = (parameters.sampler(50, seed, min_tokens=60, stop_tokens=[0, 7]) for _ in range(2))
    for token, generated in accepted:
        cut.accept(token, generated)
    cut.truncate(length)
    for token, generated in accepted[:length]:
        fresh.accept(token, generated)
    assert cut.generated == fresh.generated == sum(generated for _, generated in accepted[:length])
    for logits in (LOGITS, np.ones(50, np.float32), np.eye(1, 50, 7, np.float32)[0]):
        assert cut.sample(logits) == fresh.sample(logits)
        assert cut.sample(logits, index=100) == fresh.sample(logits, index=100)


def test_greedy_and_seeds():
    assert SamplingParameters(temperature=0).sampler(50, chosen_seed(None)).sample(LOGITS) == 49
    draws = [
        [sampler.sample(LOGITS, index=index) for index in range(20)]
        for sampler in (SamplingParameters(temperature=5).sampler(50, seed) for seed in (1, 1, 2))
    ]
    assert draws[0] == draws[1] != draws[2]


def test_top_k_of_minus_one_is_off():
    assert SamplingParameters(top_k=-1) == SamplingParameters(top_k=0)
    with pytest.raises(RequestError, match="expected top_k as an int from -1 to 2147483647, found -2"):
        SamplingParameters(top_k=-2)


def test_logit_bias():
    parameters = SamplingParameters(temperature=0, logit_bias={np.int64(7): 6, 3: 4.5})
    assert parameters.logit_bias == ((3, 4.5), (7, 6.0)) == replace(parameters, temperature=1).logit_bias
    assert hash(parameters) == hash(SamplingParameters(temperature=0, logit_bias={3: 4.5, 7: 6}))
    assert parameters.sampler(50, 0).sample(LOGITS) == 7
    assert "logit_bias" not in str(parameters)
    assert len(SamplingParameters(logit_bias=dict.fromkeys(range(MAX_BIASES), 1)).logit_bias) == MAX_BIASES
    with pytest.raises(RequestError, match="logit_bias: expected tokens from 0 to 49, found 50"):
        SamplingParameters(logit_bias={50: 1}).sampler(50, 0)


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({3: 100.5}, "expected logit_bias of token 3 as a finite number from -100 to 100, found 100.5"),
        ({3: float("nan")}, "expected logit_bias of token 3"),
        ({3: "1"}, "expected logit_bias of token 3"),
        ({-1: 1}, "expected the tokens of logit_bias as an int from 0 to 2147483647, found -1"),
        ({"3": 1}, "expected the tokens of logit_bias as an int"),
        ([(3, 1)], "expected logit_bias as a mapping of token ids to numbers"),
        ((3, 1), "expected logit_bias as a mapping"),
        (dict.fromkeys(range(MAX_BIASES + 1), 0), f"expected logit_bias as at most {MAX_BIASES} tokens, found more"),
    ],
    ids=repr,
)  # fmt: skip
def test_biases_that_are_refused(bad, match):
    with pytest.raises(RequestError, match=match):
        SamplingParameters(logit_bias=bad)


@pytest.mark.parametrize("changes", [{"choice": -1}, {"choice": 2**32}, {"min_tokens": -1}, {"min_tokens": 2**31}])
def test_what_belongs_to_one_answer_is_in_range(changes):
    with pytest.raises(RequestError, match=f"expected {next(iter(changes))} as an int from 0 to "):
        SamplingParameters().sampler(50, 0, **changes)


def test_answers_to_one_request_differ():
    samplers = [SamplingParameters(temperature=5).sampler(50, 7, choice=choice) for choice in (0, 0, 1)]
    first, again, other = ([sampler.sample(LOGITS, index=i) for i in range(20)] for sampler in samplers)
    assert first == again != other
