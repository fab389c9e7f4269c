import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3edge.text.reasoning import ThinkingSplitter
from tests.generation.fakes import CLOSE, END, OPEN, ids, make_tokenizer

TOKENIZER = make_tokenizer()


def split(tokens: list[int], reasoning: bool = False) -> tuple[str, str]:
    splitter = ThinkingSplitter(TOKENIZER, reasoning=reasoning)
    parts = [part for token in tokens for part in splitter.push(token)] + splitter.finish()
    assert all(part.text for part in parts)
    return "".join(p.text for p in parts if p.reasoning), "".join(p.text for p in parts if not p.reasoning)


@pytest.mark.parametrize("before", ["", "\n", "\n\n", " \n", "\r\n"])
@pytest.mark.parametrize("after", ["", "\n", "\n\n", "\r\n\r\n", " \n\n", "\n \n"])
def test_blanks_around_the_marks(before, after):
    tokens = [OPEN, *ids(before + "a\n b" + before), CLOSE, *ids(after + "c\n\nd\n")]
    assert split(tokens) == ("a\n b", "c\n\nd\n")
    assert split(tokens[1:], reasoning=True) == ("a\n b", "c\n\nd\n")


def test_indent_of_content_is_kept():
    assert split([OPEN, *ids("x"), CLOSE, *ids("\n\n    code")]) == ("x", "    code")
    assert split(ids("  two")) == ("", "  two")


def test_empty_thought():
    assert split([OPEN, *ids("\n\n"), CLOSE, *ids("\n\nyes")]) == ("", "yes")


def test_cut_inside_the_thought():
    assert split([OPEN, *ids("\nso far \n")]) == ("so far", "")


def test_marks_never_leak():
    assert split([CLOSE, *ids("a"), CLOSE, *ids("b")]) == ("", "ab")
    assert split([OPEN, OPEN, *ids("a"), CLOSE, *ids("b"), OPEN, *ids("c"), CLOSE, *ids("d")]) == ("ac", "bd")


def test_text_that_looks_like_a_mark_is_text():
    assert split(ids("<think>a</think>")) == ("", "<think>a</think>")


def test_control_tokens_are_no_text():
    assert split([*ids("a"), END, 256, *ids("b")]) == ("", "ab")


def test_character_cut_by_a_mark():
    assert split([OPEN, *ids("é")[:1], CLOSE, *ids("x")]) == ("\ufffd", "x")


@given(st.text(st.sampled_from("ab \n\té"), max_size=30), st.text(st.sampled_from("ab \n\té"), max_size=30))
def test_nothing_is_lost(thought, content):
    assert split([OPEN, *ids(thought), CLOSE, *ids("\n\n" + content)])[0] == thought.strip(" \t\r\n")
    kept = split([OPEN, *ids(thought), CLOSE, *ids("\n\n" + content)])[1]
    assert kept.strip() == content.strip()
    assert ("\n\n" + content).endswith(kept)
    assert split(ids("x" + content)) == ("", "x" + content)
