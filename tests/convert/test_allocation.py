"""Bits go where they lower the divergence most, and never beyond the target."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3edge.convert.allocation import Choice, allocate
from qwen3edge.errors import RequestError

SIZES = {"q4z64": 17, "q4z32": 18, "q6z32": 25, "q8": 32}  # bytes of 32 weights
COSTS = {"q4z64": 1.3, "q4z32": 1.0, "q6z32": 0.06, "q8": 0.01}


def choices(weights, sensitivity):
    return [Choice(f, weights // 32 * SIZES[f], sensitivity * COSTS[f]) for f in SIZES]


@given(
    tensors=st.lists(st.tuples(st.integers(1, 40), st.floats(1e-4, 1)), min_size=1, max_size=5),
    bits=st.floats(4.25, 9),
)
def test_within_the_target_and_near_the_best(tensors, bits):
    weights = {f"t{i}": 3200 * n for i, (n, _) in enumerate(tensors)}
    found = {f"t{i}": choices(3200 * n, s) for i, (n, s) in enumerate(tensors)}
    recipe = allocate(found, weights, bits, "x")
    chosen = {rule.pattern: next(c for c in found[rule.pattern] if c.format == rule.format) for rule in recipe.rules}
    assert chosen.keys() == weights.keys()
    budget = bits * sum(weights.values()) / 8
    assert sum(c.nbytes for c in chosen.values()) <= budget
    best = min(
        sum(c.kl for c in mix) for mix in itertools.product(*found.values()) if sum(c.nbytes for c in mix) <= budget
    )
    # The greedy walk is as good as the best mixture but for one tensor's last step.
    largest_step = max(c.kl for options in found.values() for c in options)
    assert sum(c.kl for c in chosen.values()) <= best + largest_step
    if bits >= 8:
        assert {c.format for c in chosen.values()} == {"q8"}


def test_the_sensitive_tensor_gets_the_bits():
    weights = {"a": 3200, "b": 3200}
    recipe = allocate({"a": choices(3200, 1.0), "b": choices(3200, 0.01)}, weights, 5.4, "x")
    assert {rule.pattern: rule.format for rule in recipe.rules} == {"a": "q6z32", "b": "q4z32"}


def test_a_target_that_cannot_be_met():
    with pytest.raises(RequestError, match=r"at least 4\.250"):
        allocate({"a": choices(3200, 1.0)}, {"a": 3200}, 4.2, "x")
