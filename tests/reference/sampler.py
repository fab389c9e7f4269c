"""Picking a token, and its log probability, in NumPy over whole arrays: the oracle of csrc/runtime/sampler.cpp.

Each step is a function of a row's state, so that a test can take them in another order. Bias and penalties are float32,
one operation after the other, which every machine rounds alike; weights and sums are float64.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_MASK = 2**64 - 1


@dataclass(frozen=True)
class Parameters:
    """As `_core.Sampler` takes them; what is here by default does nothing."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    choice: int = 0
    min_tokens: int = 0
    stop_tokens: Collection[int] = ()


@dataclass
class Row:
    """One row on its way: logits (float32, after the temperature float64) and which tokens are left."""

    parameters: Parameters
    logits: NDArray[np.floating]
    left: NDArray[np.bool_]
    prompt: Sequence[int]
    answer: Sequence[int]

    def order(self) -> NDArray[np.int64]:
        """What is left, best first, of equal ones the lower token."""
        order = np.argsort(-self.logits.astype(np.float64), kind="stable")
        return order[self.left[order]]

    def weights(self, order: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of tokens, best first: relative to the best's."""
        logits = self.logits[order].astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            return np.where(logits == logits[0], 1.0, np.exp(logits - logits[0]))

    def keep_first(self, order: NDArray[np.int64], stays: NDArray[np.bool_]) -> None:
        """Leaves the tokens before the first that does not stay, at least one."""
        stays[0] = True
        self.left[:] = False
        self.left[order[: len(order) if stays.all() else int(np.argmin(stays))]] = True


def bias(row: Row) -> None:
    for token, value in row.parameters.logit_bias.items():
        row.logits[token] += np.float32(value)


def repetition(row: Row) -> None:
    penalty = np.float32(row.parameters.repetition_penalty)
    for token in {*row.prompt, *row.answer}:
        row.logits[token] = row.logits[token] / penalty if row.logits[token] > 0 else row.logits[token] * penalty


def frequency(row: Row) -> None:
    for token in set(row.answer):
        row.logits[token] -= np.float32(row.parameters.frequency_penalty) * np.float32(row.answer.count(token))


def presence(row: Row) -> None:
    for token in set(row.answer):
        row.logits[token] -= np.float32(row.parameters.presence_penalty)


def temperature(row: Row) -> None:
    row.logits = row.logits.astype(np.float64)
    if row.parameters.temperature > 0:
        row.logits /= row.parameters.temperature


def top_k(row: Row) -> None:
    k = 1 if row.parameters.temperature == 0 else row.parameters.top_k
    if k > 0:
        row.left[row.order()[k:]] = False


def top_p(row: Row) -> None:
    if row.parameters.top_p < 1:
        order = row.order()
        # Logits that are no float32 apart as weights are equally likely, and the lower token is the first of them.
        order = order[np.lexsort((order, -row.weights(order).astype(np.float32)))]
        weights = row.weights(order)
        before = np.concatenate([[0.0], np.cumsum(weights)[:-1]])
        row.keep_first(order, before < row.parameters.top_p * weights.sum())


def min_p(row: Row) -> None:
    if row.parameters.min_p > 0:
        order = row.order()
        row.keep_first(order, row.weights(order) >= row.parameters.min_p)


Step = Callable[[Row], None]
STEPS: tuple[Step, ...] = (bias, repetition, frequency, presence, temperature, top_k, top_p, min_p)


def splitmix64(state: int, n: int) -> int:
    """Output number n (from 0) of the generator that starts at `state`."""
    z = (state + (n + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def draw(seed: int, choice: int, index: int) -> float:
    """In [0, 1)."""
    return (splitmix64(splitmix64(splitmix64(seed, 0), choice), index) >> 11) * 2.0**-53


def sample(
    logits: NDArray[np.float32],
    parameters: Parameters,
    *,
    prompt: Sequence[int] = (),
    answer: Sequence[int] = (),
    usable: int | None = None,
    allowed: Collection[int] | None = None,
    at: float | None = None,
    steps: Sequence[Step] = STEPS,
) -> int | None:
    """The token after this answer; None when none can be picked. at: the draw, by default the parameters' own."""
    never = np.zeros(len(logits), bool)
    never[len(logits) if usable is None else usable :] = True
    if allowed is not None:
        never |= ~np.isin(np.arange(len(logits)), list(allowed))
    if len(answer) < parameters.min_tokens:
        never[[token for token in parameters.stop_tokens if 0 <= token < len(logits)]] = True
    row = Row(parameters, np.where(np.isnan(logits), -np.inf, logits).astype(np.float32), ~never, prompt, answer)
    with np.errstate(over="ignore"):
        for step in steps:
            row.left &= row.logits > -np.inf
            if not row.left.any():
                return None
            step(row)
    row.left &= row.logits > -np.inf
    order = row.order()
    if len(order) == 0:
        return None
    weights = row.weights(order)
    filtered = 0 < parameters.top_k < (len(logits) if usable is None else usable)
    if parameters.temperature > 0 and not filtered:
        by_token = np.argsort(order)
        order, weights = order[by_token], weights[by_token]
    chosen = draw(parameters.seed, parameters.choice, len(answer)) if at is None else at
    place = int(np.searchsorted(np.cumsum(weights), chosen * weights.sum(), side="right"))
    return int(order[min(place, len(order) - 1)])


def logprobs(logits: NDArray[np.float32], usable: int | None = None) -> NDArray[np.float64]:
    """ln softmax [usable]; NaN is never, and infinities share all."""
    values = np.where(np.isnan(logits), -np.inf, logits).astype(np.float64)[:usable]
    best = values.max()
    with np.errstate(invalid="ignore"):
        distances = np.where(values == best, 0.0, values - best)
    return distances - np.log(np.exp(distances).sum())
