"""Where the last tokens stood before, found as tokens come."""

from hypothesis import given
from hypothesis import strategies as st

from qwen3edge import _core

SHORTEST, LONGEST = 3, 32


def agreement(tokens: list[int], place: int) -> int:
    """How many tokens before `place` are as the last ones, of those that are compared."""
    count = 0
    while count < min(place, LONGEST) and tokens[place - 1 - count] == tokens[-1 - count]:
        count += 1
    return count


@given(st.lists(st.integers(0, 3), max_size=300), st.lists(st.integers(1, 40), min_size=1))
def test_finds_what_followed(tokens, steps):
    lookup = _core.PromptLookup(512)
    size = 0
    while size < len(tokens):
        size = min(len(tokens), size + steps[size % len(steps)])
        known = tokens[:size]
        begin, agreed = lookup.find(known)
        latest = max(
            (at for at in range(SHORTEST, size) if known[at - SHORTEST : at] == known[-SHORTEST:]), default=None
        )
        if latest is None:
            assert agreed == 0
            continue
        assert agreement(known, begin) == agreed >= agreement(known, latest) >= SHORTEST
        assert begin < size


def test_the_longest_agreement_wins():
    tokens = [1, 2, 3, 4, 5, 6, 9, 4, 5, 6, 8, 1, 2, 3, 4, 5, 6]
    assert _core.PromptLookup(64).find(tokens) == (6, 6)
    assert _core.PromptLookup(64).find(tokens[11:]) == (0, 0)


def test_a_long_agreement_is_the_latest():
    tokens = list(range(40)) * 3
    assert _core.PromptLookup(128).find(tokens) == (80, LONGEST)
