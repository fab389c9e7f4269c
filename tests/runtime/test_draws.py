"""The numbers that tokens are drawn with: the hash that they are, uniform and independent."""

import numpy as np
import pytest

from qwen3edge import _core
from tests.reference import sampler as reference


def bucket(seed, choice, index, buckets):
    """Of equal logits the draw decides alone."""
    sampler = _core.Sampler(vocabulary=buckets, temperature=1, top_k=0, top_p=1, seed=seed, choice=choice)
    return sampler.sample(np.zeros(buckets, np.float32), index=index)


def test_the_draw_is_the_hash(seed):
    rng = np.random.default_rng(seed)
    for _ in range(200):
        s, c, i = int(rng.integers(0, 2**64, dtype=np.uint64)), int(rng.integers(0, 2**32)), int(rng.integers(0, 2**40))
        assert bucket(s, c, i, 4096) == int(reference.draw(s, c, i) * 4096)
    keys = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2**64 - 1, 2**32 - 1, 9))
    assert [bucket(*key, 1 << 16) for key in keys] == [9090, 45450, 12048, 63642, 41075]


SIDE, CELLS = 12, 12 * 256
# Chi-square of 143 degrees of freedom is outside these limits once in 10^9 times on either side (Wilson and Hilferty
# 1931: its cube root is normal): a run with a new seed fails for nothing once in some 10^7 times.
_SPREAD = (2 / (9 * (SIDE**2 - 1))) ** 0.5
LOW, HIGH = ((SIDE**2 - 1) * (1 - _SPREAD**2 + sign * 6 * _SPREAD) ** 3 for sign in (-1, 1))
KEYS = {
    "index": lambda start, n: (start, 0, n),
    "choice": lambda start, n: (start, n, 5),
    "seed": lambda start, n: ((start + n) % 2**64, 0, 5),
    "scattered seed": lambda start, n: ((start + n * 0x9E3779B97F4A7C15) % 2**64, 0, 5),
    "high bits of the seed": lambda start, n: ((start + (n << 48)) % 2**64, 0, 5),
    "seed and choice": lambda start, n: ((start + n // 60) % 2**64, n % 60, 0),
    "choice and index": lambda start, n: (start, n // 60, n % 60),
}


def chi_square(numbers):
    """Of pairs of neighbouring numbers of [0, 1), in SIDE x SIDE cells: what is not uniform and independent is far from
    its degrees of freedom.
    """
    places = (np.asarray(numbers) * SIDE).astype(int)
    cells = np.bincount(places[:-1:2] * SIDE + places[1::2], minlength=SIDE**2)
    expected = len(places) // 2 / SIDE**2
    return float(((cells - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("start", [0, "random"])
@pytest.mark.parametrize("key", KEYS)
def test_draws_are_uniform_and_independent(key, start, seed):
    start = seed * 0x100000001 if start == "random" else start
    numbers = [bucket(*KEYS[key](start, n), CELLS) / CELLS for n in range(2 * 1440)]
    assert LOW < chi_square(numbers) < HIGH
    # The test sees what is none: one multiplication of the keys' sum.
    weak = [(sum(KEYS[key](start, n)) * 0x9E3779B97F4A7C15 % 2**64) / 2**64 for n in range(2 * 1440)]
    assert not LOW < chi_square(weak) < HIGH


def test_draws_of_several_answers_are_independent():
    """Token by token between choices, and between neighbouring seeds."""
    for first, second in (((5, 0), (5, 1)), ((5, 0), (6, 0)), ((5, 1), (6, 0)), ((5, 7), (7, 5))):
        pairs = [[bucket(*key, index, CELLS) / CELLS for key in (first, second)] for index in range(1440)]
        assert LOW < chi_square(np.ravel(pairs)) < HIGH
