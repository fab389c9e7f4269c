"""Normal form C as the tokenizers library makes it, which has an older edition of Unicode than Python."""

import itertools
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from qwen3edge import _core
from tests.text.random_texts import as_text, texts

NFC, NFD = normalizers.NFC(), normalizers.NFD()
CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
# Letters that compose, marks of many classes, what decomposes for good, jamo and syllables, starters that compose.
TRAPS = (
    "aAeoǖạĄ\u0344\u0340\u0341\u0374\u037e\u0387\u2126\u212a\u212b\uf900\ufb1d\ufb49\ufb4b\u0958\u09dc\u0f43\u0f73\u0f81"
    "\u0300\u0301\u0308\u030a\u0323\u0328\u0327\u0338\u0345\u0334\u05bc\u05c1\u064b\u0651\u0653\u093c\u094d\u0e38\u0f71"
    "\u0f72\u0f74\u3099\u309aかはウ\u09c7\u09be\u09d7\u0b47\u0b3e\u0b57\u0cc6\u0cc2\u0cd5\u0dd9\u0dca\u0dcf\u1025\u102e"
    "\u1b05\u1b35\U00011099\U000110ba\U00011131\U00011127\U0001d157\U0001d165\U0001d15f\U0001d16e\U0002f800\U00011938"
    "\u1100\u1112\u1113\u1161\u1175\u1176\u11a7\u11a8\u11c2\u11c3가각힣\u0c3c\u0eba\u1ac0\n x"
)


def test_every_code_point():
    text = "\n".join(map(chr, CODES))
    assert _core.normal_form(text) == NFC.normalize_str(text)


def test_code_points_before_and_behind_others():
    """Between a letter and two marks, which go to their places around it."""
    for pattern in ("a{}\u0301\u0323", "{}\u0345\u0334", "\u1100{}\u11a8", "\u0345{}\u0301"):
        text = "\n".join(
            pattern.format(chr(code)) for code in (*CODES[:0x3200], *CODES[0xA000:0xB000], *CODES[0xF000:0x12000])
        )
        assert _core.normal_form(text) == NFC.normalize_str(text), pattern


def test_every_code_point_decomposed():
    text = NFD.normalize_str("\n".join(map(chr, CODES)))
    assert _core.normal_form(text) == NFC.normalize_str(text)


def test_pairs_of_traps():
    text = "\n".join("".join(pair) for pair in itertools.product(TRAPS, repeat=2))
    assert _core.normal_form(text) == NFC.normalize_str(text)


@settings(max_examples=500)
@given(st.text(st.sampled_from(TRAPS), max_size=12))
def test_traps(text):
    assert _core.normal_form(text) == NFC.normalize_str(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text(text):
    normal = _core.normal_form(text)
    assert normal == NFC.normalize_str(text)
    assert _core.normal_form(normal) == normal


def test_all_scripts(seed):
    for item in texts(seed, 2000):
        assert _core.normal_form(as_text(item)) == NFC.normalize_str(as_text(item))


@pytest.mark.parametrize("unit", ["\u0301", "\u0323\u0301\u0334", "\u1161", "a\u0301", "\ufb4b", "\u1100\u1161\u11a8"])
def test_a_flood_takes_no_square_of_its_length(unit, seed):
    marks = list(unit * (150_000 // len(unit)))
    random.Random(seed).shuffle(marks)
    started = time.perf_counter()
    _core.normal_form("a" + "".join(marks))
    assert time.perf_counter() - started < 5
