"""The core's byte-level BPE against the tokenizers library's, on vocabularies and merges of every kind."""

import random
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from qwen3edge import _core
from qwen3edge.errors import FileFormatError
from tests.reference.byte_alphabet import BYTE_TO_CHAR, from_bytes

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
BYTES = list(BYTE_TO_CHAR.values())


@st.composite
def vocabularies(draw) -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens in any order, some of which nothing makes, and merges in any order, some of them twice."""
    letters = draw(st.sampled_from(["ab", "abc", "aÃ©", "aĠĊ"]))
    known, pairs = list(letters), []
    for _ in range(draw(st.integers(0, 24))):
        left, right = draw(st.sampled_from(known)), draw(st.sampled_from(known))
        pairs.append((left, right))
        if left + right not in known and len(left + right) <= 24:
            known.append(left + right)
    pairs = [pair for pair in pairs if "".join(pair) in known]
    pairs = draw(st.permutations(pairs)) if draw(st.booleans()) else pairs
    tokens = [*BYTES, *(token for token in known if len(token) > 1), "xyz"]
    return draw(st.permutations(tokens)) if draw(st.booleans()) else tokens, pairs


def library(tokens: list[str], pairs: list[tuple[str, str]]) -> Tokenizer:
    return Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=pairs))


def ours(tokens: list[str], pairs: list[tuple[str, str]]) -> _core.Bpe:
    return _core.Bpe(tokens, [NORMAL] * len(tokens), [" ".join(pair) for pair in pairs])


@settings(max_examples=300, deadline=None)
@given(vocabularies(), st.lists(st.text("abcé \n", max_size=40), max_size=8))
def test_same_ids_as_the_library(vocabulary, words):
    bpe, reference = ours(*vocabulary), library(*vocabulary)
    expected = [reference.encode(from_bytes(word.encode()), add_special_tokens=False).ids for word in words]
    assert [bpe.encode([word]) for word in words] == expected
    assert bpe.encode(words) == [token for tokens in expected for token in tokens]


@given(vocabularies(), st.text(max_size=60))
def test_tokens_spell_the_word(vocabulary, word):
    bpe = ours(*vocabulary)
    assert b"".join(map(bpe.token_bytes, bpe.encode([word]))) == word.encode()


def test_a_longer_vocabulary(seed):
    """Thousands of tokens: every table grows, and merges meet in every order."""
    rng = random.Random(seed)
    known = [chr(97 + i) for i in range(8)]
    pairs = []
    while len(pairs) < 4000:
        pair = (rng.choice(known), rng.choice(known))
        if len("".join(pair)) < 30:
            pairs.append(pair)
            known.append("".join(pair))
    rng.shuffle(pairs)
    tokens = list(dict.fromkeys([*BYTES, *known]))
    bpe, reference = ours(tokens, pairs), library(tokens, pairs)
    for _ in range(300):
        word = "".join(rng.choices("abcdefgh", k=rng.randint(1, 200)))
        assert bpe.encode([word]) == reference.encode(word, add_special_tokens=False).ids


def test_a_merge_that_stands_twice_has_its_last_rank():
    tokens, pairs = [*BYTES, "ab", "bc"], [("a", "b"), ("b", "c"), ("a", "b")]
    assert ours(tokens, pairs).encode(["abc"]) == library(tokens, pairs).encode("abc").ids
    assert ours(tokens, pairs).encode(["abc"]) == [tokens.index("a"), tokens.index("bc")]


def test_kinds():
    tokens = [*BYTES, "ab", "<end>", "<think>", "[unused]", "ab", ""]
    kinds = [NORMAL] * 257 + [CONTROL, USER_DEFINED, UNUSED, UNUSED, UNUSED]
    bpe = _core.Bpe(tokens, kinds, ["a b"])
    assert bpe.size == 262
    assert bpe.added() == [("<end>", 257, True), ("<think>", 258, False)]
    assert bpe.token_bytes(258) == b"<think>"
    assert [bpe.token_bytes(i) for i in (259, 260, 261, 262, -1, 2**62, -(2**62))] == [b""] * 7
    assert bpe.token_bytes(BYTES.index("Ġ")) == b" "


def test_tokens_outside_the_alphabet_are_text():
    bpe = _core.Bpe([*BYTES, "中文", "a b"], [NORMAL] * 258, [])
    assert (bpe.token_bytes(256), bpe.token_bytes(257)) == ("中文".encode(), b"a b")


@pytest.mark.parametrize(
    ("tokens", "kinds", "merges"),
    [
        ([], [], []),
        (BYTES, [NORMAL] * 255, []),
        (BYTES[1:], [NORMAL] * 255, []),
        (BYTES, [NORMAL] * 255 + [CONTROL], []),  # a byte that is no normal token
        ([*BYTES, "a"], [NORMAL] * 257, []),
        ([*BYTES, "a"], [NORMAL] * 256 + [CONTROL], []),
        ([*BYTES, ""], [NORMAL] * 257, []),
        ([*BYTES, "ab"], [NORMAL] * 256 + [2], []),
        ([*BYTES, "ab"], [NORMAL] * 256 + [CONTROL], ["a b"]),  # makes a token that text must not make
        ([*BYTES, "ab"], [NORMAL] * 256 + [UNUSED], ["a b"]),
        ([*BYTES, "ab", "abc"], [NORMAL] * 256 + [CONTROL, NORMAL], ["ab c"]),
        *(([*BYTES, "ab"], [NORMAL] * 257, [merge]) for merge in ("", " ", "ab", "a b ", " a b", "a  b", "a c", "a z")),
        ([*BYTES, "ab"], [NORMAL] * 257, ["a b"] * 40 + ["b a"]),
    ],
)
def test_vocabularies_that_contradict_themselves(tokens, kinds, merges):
    with pytest.raises(FileFormatError):
        _core.Bpe(tokens, kinds, merges)


def test_a_long_word_takes_no_square_of_its_length():
    pairs = [("a" * 2**i, "a" * 2**i) for i in range(12)]
    bpe = ours([*BYTES, *("a" * 2 ** (i + 1) for i in range(12))], pairs)
    started = time.perf_counter()
    assert bpe.encode(["a" * 2**20]) == [256 + 11] * 2**8
    assert time.perf_counter() - started < 5


def test_threads_share_one(seed):
    rng = random.Random(seed)
    bpe = ours([*BYTES, "ab", "abab"], [("a", "b"), ("ab", "ab")])
    words = ["".join(rng.choices("abc", k=40)) for _ in range(500)]
    expected, found = bpe.encode(words), []
    threads = [threading.Thread(target=lambda: found.append(bpe.encode(words))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
