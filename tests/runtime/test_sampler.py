"""The core's sampler against a plain NumPy one with the same generator."""

import numpy as np
import pytest

from qwen3edge import _core
from qwen3edge.errors import RequestError

VOCABULARY = 5000
MASK = (1 << 64) - 1


class Reference:
    """Sorts everything, in float64."""

    def __init__(self, *, temperature, top_k, top_p, min_p, presence_penalty, repetition_penalty, seed):
        self.temperature, self.top_k, self.top_p, self.min_p = temperature, top_k, top_p, min_p
        self.presence, self.repetition, self.state = presence_penalty, repetition_penalty, seed
        self.seen, self.generated = set(), set()

    def uniform(self):
        """splitmix64."""
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return ((z ^ (z >> 31)) >> 11) * 2.0**-53

    def sample(self, logits):
        v = logits.astype(np.float64)
        for token in self.seen:
            v[token] = v[token] / self.repetition if v[token] > 0 else v[token] * self.repetition
        for token in self.generated:
            v[token] -= self.presence
        order = np.argsort(-v, kind="stable")
        if self.temperature == 0:
            return int(order[0])
        order = order[: self.top_k or None]
        weights = np.exp((v[order] - v[order[0]]) / self.temperature)
        if self.top_p == 1 and self.min_p == 0:
            order, weights = (order, weights) if self.top_k else (np.sort(order), weights[np.argsort(order)])
        else:
            before = np.concatenate([[0], np.cumsum(weights)[:-1]])
            kept = (before < self.top_p * weights.sum()) & (weights >= self.min_p)
            kept[0] = True
            count = len(kept) if kept.all() else int(np.argmin(kept))
            order, weights = order[:count], weights[:count]
        return int(order[np.searchsorted(np.cumsum(weights), self.uniform() * weights.sum(), side="right")])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 0},
        {"top_k": 0, "top_p": 0.95},
        {"top_k": 0, "top_p": 1},
        {"top_k": 50, "top_p": 1},
        {"top_k": 0, "top_p": 1, "min_p": 0.05},
        {"top_k": VOCABULARY + 1, "min_p": 0.001, "temperature": 1.5},
        {"presence_penalty": 1.5, "repetition_penalty": 1.3},
        {"temperature": 0, "presence_penalty": -1.5, "repetition_penalty": 0.7},
    ],
    ids=str,
)
def test_against_reference(changes, seed):
    parameters = {
        "temperature": 0.7,
        "top_k": 20,
        "top_p": 0.8,
        "min_p": 0.0,
        "presence_penalty": 0.0,
        "repetition_penalty": 1.0,
        "seed": seed,
        **changes,
    }
    sampler, reference = _core.Sampler(vocabulary=VOCABULARY, **parameters), Reference(**parameters)
    rng = np.random.default_rng(seed)
    for token in rng.integers(0, VOCABULARY, 40).tolist():
        sampler.accept(token, generated=False)
        reference.seen.add(token)
    for _ in range(200):
        logits = (rng.standard_normal(VOCABULARY) * 3).astype(np.float32)
        token = sampler.sample(logits)
        assert token == reference.sample(logits)
        sampler.accept(token)
        reference.seen.add(token)
        reference.generated.add(token)


def test_ties_go_to_the_lower_token():
    logits = np.zeros(VOCABULARY, np.float32)
    logits[[7, 3, 4000]] = 1
    assert _core.Sampler(vocabulary=VOCABULARY, temperature=0).sample(logits) == 3
    picked = {_core.Sampler(vocabulary=VOCABULARY, top_k=2, top_p=1, seed=s).sample(logits) for s in range(50)}
    assert picked == {3, 7}


def test_nan_and_infinity():
    logits = np.full(VOCABULARY, -np.inf, np.float32)
    sampler = _core.Sampler(vocabulary=VOCABULARY)
    with pytest.raises(RequestError, match="logits"):
        sampler.sample(logits)
    logits[:] = np.nan
    with pytest.raises(RequestError, match="logits"):
        sampler.sample(logits)
    logits[17] = -5
    assert sampler.sample(logits) == 17
    logits[18] = np.inf
    assert sampler.sample(logits) == 18


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": np.nan},
        {"temperature": -1},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"presence_penalty": 9},
        {"repetition_penalty": 0},
    ],
    ids=str,
)
def test_parameters_out_of_range(bad):
    with pytest.raises(RequestError, match="expected"):
        _core.Sampler(vocabulary=10, **bad)


@pytest.mark.parametrize("token", [-1, 10])
def test_tokens_out_of_range(token):
    with pytest.raises(RequestError, match="token"):
        _core.Sampler(vocabulary=10).accept(token)
