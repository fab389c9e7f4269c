"""Lines that are broken between words."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3edge.cli.wrapping import LineWrapper, wrapped

WORDS = st.text("abcdefé-.(`", min_size=1, max_size=8)
LINES = st.lists(st.one_of(WORDS, st.sampled_from([" ", "  ", "\n", "\t"])), max_size=60).map("".join)
ANY = st.text(st.sampled_from("ab `\n\t中文，（。한e\u0301\U0001f600\u200d"), max_size=80)
WIDTHS = st.integers(1, 40)


def cells(text: str) -> int:
    return sum(0 if unicodedata.category(c) in ("Mn", "Me", "Cf") else 1 + (unicodedata.east_asian_width(c) in "WF")
               for c in text)  # fmt: skip


@given(LINES.map(lambda text: text.replace("`", "'").replace("\t", " ")), st.integers(48, 80))
def test_words_stay_whole_and_rows_fit(text, width):
    text = " ".join(word[:width] for word in text.split(" "))
    shown = wrapped(text, width)
    if all(len(word) <= width for word in text.split()):
        assert shown.split() == text.split()
        assert all(len(row) <= width for row in shown.split("\n") if row.strip() and not row.startswith(" "))


@given(ANY, WIDTHS)
def test_nothing_is_lost(text, width):
    assert "".join(wrapped(text, width).split()) == "".join(text.split())


@given(ANY, WIDTHS, st.lists(st.integers(1, 9), min_size=1))
def test_pieces_do_not_matter(text, width, sizes):
    wrapper, shown, rest = LineWrapper(lambda: width), "", text
    while rest:
        size = sizes[len(rest) % len(sizes)]
        shown, rest = shown + wrapper.push(rest[:size]), rest[size:]
    assert shown + wrapper.finish() == wrapped(text, width)


@given(st.lists(st.text("ab 中。", max_size=9)).map("\n".join))
def test_what_fits_is_left_alone(text):
    assert wrapped(text, 18) == text
    assert wrapped(text, 0) == text  # a terminal of no width


def test_broken_where_it_should_be():
    assert wrapped("curious and adventurous", 18) == "curious and\nadventurous"
    assert wrapped("curious and adventurous", 23) == "curious and adventurous"
    assert wrapped("a " + "x" * 25 + " b", 10) == "a\n" + "x" * 10 + "\n" + "x" * 10 + "\nxxxxx b"
    assert wrapped("你好世界，再见", 8) == "你好世\n界，再见"
    assert wrapped("对（你好）", 4) == "对\n（你\n好）"
    assert wrapped("안녕하세요 세계", 12) == "안녕하세요\n세계"
    assert wrapped("  indented line", 10) == "  indented\nline"
    assert wrapped("```py\nx = 'a long line of code'\n```\nand words", 8) == (
        "```py\nx = 'a long line of code'\n```\nand\nwords"
    )


@pytest.mark.parametrize("columns", [10, 30])
def test_a_terminal_that_is_made_wider_or_narrower(columns):
    size = [20]
    wrapper = LineWrapper(lambda: size[0])
    shown = wrapper.push("one two three four ")
    size[0] = columns
    shown += wrapper.push("five six seven eight nine ten ") + wrapper.finish()
    assert shown.split() == ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    assert max(map(cells, shown.split("\n")[1:])) <= columns
