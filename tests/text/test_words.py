"""The words that BPE works on, against the patterns of qwen3edge/tokenization.py in the tokenizers library."""

import random
import time
from collections.abc import Callable

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers, pre_tokenizers

from qwen3edge import _core
from qwen3edge.errors import RequestError, UnsupportedModelError
from qwen3edge.tokenization import SPLITTERS
from tests.text.byte_tokenizer import byte_tokenizer
from tests.text.random_texts import as_text, texts

CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
NFC = normalizers.NFC()
Words = Callable[[str], list[str]]


def library(pre: str) -> Words:
    splitter = SPLITTERS[pre]
    split = pre_tokenizers.Split(tokenizers.Regex(splitter.words), "isolated")

    def words(text: str) -> list[str]:
        text = NFC.normalize_str(text) if splitter.normalizes else text
        return [word for word, _ in split.pre_tokenize_str(text)]

    return words


OURS = {pre: byte_tokenizer(pre).words for pre in SPLITTERS}
THEIRS = {pre: library(pre) for pre in SPLITTERS}

# Of every class some, and what only looks like one of another: separators of files, U+0085, the vowel separator of
# Mongolian, blanks without width, the long s, ligatures, letters and numbers newer than most tables.
TRAPS = (
    "aBsStTmMdDrRvVeElL''’ \t\n\r\v\f\x00\x1c\x1f\x7f\x85\xa0\u180e\u2003\u2028\u2029\u202f\u3000\u200b\u200d\ufeff"
    "\u017f\ufb06\u0149\u212a019²½Ⅷ٣一.,-_!?\u0301\u0345\u093f\u20dd\ufe0f\u20e3中가ᄀ\u1161がか\u3099。，ａ🙂\U0001f3fd\U0001f1e9"
    "\u0897\u1c89\U0001e030\U0002ebf0\U000105c0\U00010940\U000e0041\ue000\uffff\U0010ffff"
)


def test_names():
    with pytest.raises(UnsupportedModelError, match=", ".join(map(repr, SPLITTERS)) + r", found .gpt2. and .gpt-2."):
        byte_tokenizer("gpt-2")


# Between others of every class, and in the places of the English endings.
PATTERNS = ("a{}b", "{}", " {} ", "\t{}", ".{}.", "1{}1", "\n{}\n", "\u0301{}", "'{}", "'r{}", "'{}e", "'l{}")


def same_words(pre: str, codes: list[int], pattern: str) -> None:
    for at in range(0, len(codes), 512):  # the library takes the square of a text's length
        text = "\x00\u4e00".join(pattern.format(chr(code)) for code in codes[at : at + 512])
        assert OURS[pre](text) == THEIRS[pre](text), (pattern, hex(codes[at]))


@pytest.mark.parametrize("pre", SPLITTERS)
def test_code_points_of_all_planes(pre, seed):
    codes = sorted({*CODES[:0x300], *random.Random(seed).sample(CODES, 4000)})
    for pattern in PATTERNS:
        same_words(pre, codes, pattern)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("pre", ["qwen2", "qwen35"])
def test_every_code_point(pre, pattern):
    same_words(pre, CODES, pattern)


@pytest.mark.parametrize("pre", SPLITTERS)
@settings(max_examples=300)
@given(text=st.text(st.sampled_from(TRAPS), max_size=12))
def test_traps(pre, text):
    assert OURS[pre](text) == THEIRS[pre](text)


@pytest.mark.parametrize("pre", SPLITTERS)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text(pre, text):
    words = OURS[pre](text)
    assert words == THEIRS[pre](text)
    assert "".join(words) == (NFC.normalize_str(text) if SPLITTERS[pre].normalizes else text)


@pytest.mark.parametrize("pre", SPLITTERS)
@given(parts=st.lists(st.sampled_from([" ", "  ", "\n", "\r\n", "\t", "\u3000", "a", ".", "'s", "é", "\u0301"])))
def test_blanks(pre, parts):
    text = "".join(parts)
    assert OURS[pre](text) == THEIRS[pre](text)


@given(text=st.text(st.characters(max_codepoint=127), max_size=60))
def test_ascii(text):
    words = THEIRS["qwen2"](text)
    assert [OURS[pre](text) for pre in SPLITTERS] == [words] * len(SPLITTERS)


@pytest.mark.parametrize("pre", SPLITTERS)
def test_all_scripts(pre, seed):
    different = [item for item in map(as_text, texts(seed, 2000)) if OURS[pre](item) != THEIRS[pre](item)]
    assert not different, f"{len(different)}, the first: {different[0]!r}"


@pytest.mark.parametrize("unit", [" ", "\n ", " \n", "a", "'", "'s", ".", "1", "\u0301", "\u3000", "中", "\r\n\t"])
def test_a_flood_takes_no_square_of_its_length(unit):
    tokenizer = byte_tokenizer("qwen35")
    started = time.perf_counter()
    tokenizer.words(unit * (60_000 // len(unit)))
    assert time.perf_counter() - started < 2


def test_chunks_end_at_the_first_cut():
    text = "x" * 20_000 + " " + "y" * 20_000 + "\n\nz1-" + "文。" * 20_000
    chunks = _core.text_chunks(text, 16 * 1024)
    assert [len(chunk) for chunk in chunks] == [20_000, 20_003, 16_384, 16_384, 7_235]
    assert "".join(chunks) == text


@pytest.mark.parametrize("behind", ["", " ", "\n"])
def test_the_longest_word(behind):
    longest = 2**16
    assert _core.text_chunks("é" * longest, 16 * 1024) == ["é" * longest]
    text = "a b " * 8000 + "é" * (longest + 16_000) + behind
    with pytest.raises(RequestError, match=r"at least every 65536 characters, found none after character 16385"):
        _core.text_chunks(text, 16 * 1024)
