"""Which experts a mixture's tokens choose, with the locality that was measured on Qwen3-30B-A3B.

Random weights route without locality: there 45 % of the experts that a token chooses are chosen again at the next
token, and 80 % within eight.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEXT, WITHIN_EIGHT, WINDOW = 0.45, 0.80, 8
_POPULARITY = 0.8  # exponent of Zipf's law for the experts that a token does not take over from those before it


@dataclass
class Chooser:
    """One layer's experts, token by token: taken over from the token before, from the seven before that, or anew."""

    rng: np.random.Generator
    experts: int
    top: int
    again: float
    back: float

    def __post_init__(self) -> None:
        shares = 1 / np.arange(1, self.experts + 1) ** _POPULARITY
        self._shares = self.rng.permutation(shares / shares.sum())
        self._past: list[set[int]] = []

    def next(self) -> list[int]:
        """The experts of the next token, each once."""
        last = self._past[-1] if self._past else set()
        older = set().union(*self._past[-WINDOW:-1]) - last if self._past else set()
        chosen: set[int] = set()
        while len(chosen) < self.top:
            kind = self.rng.random()
            pool = sorted((last if kind < self.again else older if kind < self.again + self.back else set()) - chosen)
            chosen.add(int(self.rng.choice(pool) if pool else self.rng.choice(self.experts, p=self._shares)))
        self._past = [*self._past[-WINDOW:], chosen]
        return sorted(chosen)


def locality(trace: NDArray[np.uint32]) -> tuple[float, float]:
    """Shares of the chosen experts that are chosen again at the next token, and within eight: trace [tokens, top]."""
    sets = [set(map(int, row)) for row in trace]
    inner = range(len(sets) - WINDOW)
    following = [len(sets[t] & sets[t + 1]) for t in inner]
    within = [len(sets[t] & set().union(*sets[t + 1 : t + 1 + WINDOW])) for t in inner]
    return statistics.mean(following) / trace.shape[1], statistics.mean(within) / trace.shape[1]


def calibrated(experts: int, top: int, seed: int) -> tuple[float, float]:
    """The chances of Chooser with which traces have the measured locality."""
    again, back = 0.3, 0.3
    for _ in range(14):
        chooser = Chooser(np.random.default_rng(seed), experts, top, again, back)
        found = locality(np.array([chooser.next() for _ in range(500)], np.uint32))
        again = float(np.clip(again + NEXT - found[0], 0, 1))
        back = float(np.clip(back + 0.7 * (WITHIN_EIGHT - found[1]), 0, 1 - again))
    return again, back


def make_trace(layers: int, experts: int, top: int, tokens: int, seed: int) -> NDArray[np.uint32]:
    """uint32 [tokens, layers, top]."""
    again, back = calibrated(experts, top, seed)
    choosers = [Chooser(np.random.default_rng([seed, n]), experts, top, again, back) for n in range(layers)]
    return np.array([[chooser.next() for chooser in choosers] for _ in range(tokens)], np.uint32)
