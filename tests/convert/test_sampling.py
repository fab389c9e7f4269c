"""Sampling settings of checkpoints: what a sampler can take is kept, anything else is refused when it is converted."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3edge.convert.sampling import sampling_metadata
from qwen3edge.errors import CheckpointError
from qwen3edge.formats.gguf_header import gguf_header
from qwen3edge.generation.sampler import SamplingDefaults

NAMES = ["temperature", "top_k", "top_p", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty"]


def defaults(chosen, model_type="qwen3", template=None, hidden_size=2048):
    """As the runtime reads them, after the file's types were tried on them."""
    keys = sampling_metadata(template, model_type, hidden_size, chosen, "generation_config.json")
    gguf_header("qwen3edge", 64, keys, [])
    return SamplingDefaults.from_metadata(keys)


@pytest.mark.parametrize(("found", "expected"), [(-1, 0), (0, 0), (20.0, 20), (-1.0, 0), (2**31 - 1, 2**31 - 1)])
def test_top_k(found, expected):
    assert defaults({"top_k": found}).thinking.top_k == expected


def test_no_sampling():
    """As a temperature of 0 is: greedy, but for thoughts, which would loop."""
    found = defaults({"do_sample": False, "temperature": 0.5})
    assert found.direct.temperature == 0
    assert found.thinking.temperature == pytest.approx(0.6)
    assert defaults({"do_sample": True, "temperature": 0.5}).thinking.temperature == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_k", -2), ("top_k", 2**31), ("top_k", 2**40), ("top_k", 1.5), ("top_k", "20"),
        ("top_k", True), ("top_k", math.inf), ("top_k", math.nan),
        ("temperature", 1e39), ("temperature", -1), ("temperature", math.nan),
        ("temperature", "hot"), ("temperature", False), ("top_p", 1.5), ("top_p", -0.1), ("min_p", 2),
        ("repetition_penalty", 0), ("repetition_penalty", 1e9), ("presence_penalty", 3),
    ],
)  # fmt: skip
def test_out_of_range(name, value):
    with pytest.raises(CheckpointError, match=f"generation_config.json: {name}: expected"):
        defaults({name: value})


@pytest.mark.parametrize("name", NAMES)
def test_numbers_beyond_any_range(name):
    with pytest.raises(CheckpointError, match=f"{name}: expected"):
        defaults({name: 10**5000})


@given(st.dictionaries(st.sampled_from(NAMES), st.integers() | st.floats() | st.booleans() | st.text(max_size=3)))
def test_what_is_converted_can_be_loaded(chosen):
    try:
        found = defaults(chosen)
    except CheckpointError:
        return
    assert json.dumps(found.thinking.__dict__)


# Qwen2.5's sizes, as their own config.json and generation_config.json have them.
@pytest.mark.parametrize(
    ("hidden_size", "expected"), [(896, 1.1), (1536, 1.1), (2048, 1.05), (3584, 1.05), (5120, 1.05), (8192, 1.05)]
)
def test_qwen2_has_a_penalty_of_its_own(hidden_size, expected):
    for template in ("plain", None):
        assert defaults({}, "qwen2", template, hidden_size).direct.repetition_penalty == pytest.approx(expected)
        said = defaults({"repetition_penalty": 1.02, "top_k": 7}, "qwen2", template, hidden_size).direct
        assert said.repetition_penalty == pytest.approx(1.02)
        assert said.top_k == 7
    assert defaults({}, "qwen3", "plain", hidden_size).direct.repetition_penalty == 1
    distilled = defaults({}, "qwen2", "<think>", hidden_size)  # DeepSeek's advice for R1 has no penalty
    assert distilled.direct.repetition_penalty == distilled.thinking.repetition_penalty == 1
