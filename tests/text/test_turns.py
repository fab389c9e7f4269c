"""Where prompts are likely to part from each other, as far as tokens tell."""

import pytest

from qwen3edge import _core
from tests.reference.byte_alphabet import BYTE_TO_CHAR

BEGIN, END, TAG = 256, 257, 258
BPE = _core.Bpe([*BYTE_TO_CHAR.values(), "<begin>", "<end>", "<tag>"], [1] * 256 + [3, 3, 4], [])


def turn(*text: int) -> list[int]:
    return [BEGIN, *text, END, 2]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([], []),
        ([0, 1, TAG, 2], []),
        ([BEGIN, 0], []),
        ([*turn(0), BEGIN, 1], [4]),
        ([*turn(0, 0), *turn(1), BEGIN, 1], [5, 9]),
        ([*turn(0), *turn(1), *turn(0, 1), *turn(2), BEGIN, 1, TAG, TAG], [4, 17]),
        ([END, *turn(0), *turn(1), BEGIN, 1], [5, 9]),
        ([0, 1, END], [2]),
        ([0, 1, -1, 1 << 30, 0], []),
    ],
    ids=[
        "nothing",
        "no control token",
        "one turn",
        "a question",
        "a system message and a question",
        "a chat",
        "a token in front of all turns",
        "a text that ends",
        "ids that no token has",
    ],
)
def test_boundaries(tokens, expected):
    assert BPE.turn_boundaries(tokens) == expected
