"""Whether draft tokens are worth what they cost, of an engine whose rows cost what the test says."""

import time

import numpy as np
import pytest

from qwen3edge import _core

VOCABULARY, CYCLE, COUNT = 600, 8, 900
STEP = 0.002  # seconds


def said(position: int) -> int:
    """A text that repeats itself but for every eighth token: of five tokens that are looked up four are right."""
    return position % CYCLE if position % CYCLE else 50 + position // CYCLE


class PricedEngine:
    """Of one sequence. price: of a row beside the first one, in steps of one row."""

    def __init__(self, price: float) -> None:
        self.price, self.held = price, 0
        self.plan = {"context": 1024, "sequences": 1, "chunk": 16, "draft_tokens": 8}

    def forward(self, tokens, positions, slots, want, *, cancel=None):
        assert positions[0] == self.held
        self.held += len(tokens)
        time.sleep(STEP * (1 + self.price * (len(tokens) - 1)))
        logits = np.zeros((sum(want), VOCABULARY), np.float32)
        logits[range(sum(want)), [said(at + 1) for at, wanted in zip(positions, want, strict=True) if wanted]] = 100
        return logits

    def length(self, slot):
        return self.held

    def truncate(self, slot, length):
        self.held = min(self.held, length)
        return self.held


@pytest.mark.parametrize(("price", "worth"), [(0.02, True), (2.0, False)])
def test_what_costs_more_than_it_gives_is_not_drafted(price, worth):
    """But for one now and then, as the price may change."""
    scheduler = _core.Scheduler(PricedEngine(price), VOCABULARY)
    prompt = [said(at) for at in range(4 * CYCLE)]
    generation = scheduler.submit(prompt, _core.Sampler(vocabulary=VOCABULARY, temperature=0.0), max_tokens=COUNT)
    tokens = []
    while (news := generation.next()) is not None:
        news.raise_error()
        tokens += news.tokens
    assert tokens == [said(at) for at in range(len(prompt), len(prompt) + COUNT)]
    counts = scheduler.counts
    assert counts["drafted"] > COUNT / 3 if worth else 0 < counts["drafted"] < COUNT / 12
    assert counts["steps"] < COUNT * 0.8 if worth else counts["steps"] > COUNT * 0.9
