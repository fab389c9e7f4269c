"""What an answer's tokens show, case by case. tests/text/test_answer_text_streams.py has any tokens."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3edge import _core
from qwen3edge.errors import RequestError
from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, VOCABULARY, ids, make_tokenizer
from tests.reference.byte_alphabet import BYTE_TO_CHAR

TOKENIZER = make_tokenizer()
ENDOFTEXT = 256
FFFD = "\ufffd"


def steps(tokens: list[int], *, reasoning: bool = False, stops=()) -> list[list[tuple[str, bool]]]:
    """The pieces of each token, and of the end."""
    text = _core.AnswerText(TOKENIZER.bpe, reasoning=reasoning, stops=stops)
    return [*(text.push(token) for token in tokens), text.finish()]


def split(tokens: list[int], *, reasoning: bool = False, stops=()) -> tuple[str, str]:
    """(thoughts, content)."""
    pieces = [piece for step in steps(tokens, reasoning=reasoning, stops=stops) for piece in step]
    assert all(text for text, _ in pieces)
    return joined(pieces, True), joined(pieces, False)


def joined(pieces: list[tuple[str, bool]], thoughts: bool) -> str:
    return "".join([text for text, thought in pieces if thought is thoughts])


@pytest.mark.parametrize("before", ["", "\n", "\n\n", " \n", "\r\n"])
@pytest.mark.parametrize("after", ["", "\n", "\n\n", "\r\n\r\n", " \n\n", "\n \n"])
def test_blanks_around_the_marks(before, after):
    tokens = [OPEN, *ids(before + "a\n b" + before), CLOSE, *ids(after + "c\n\nd\n")]
    assert split(tokens) == ("a\n b", "c\n\nd\n")
    assert split(tokens[1:], reasoning=True) == ("a\n b", "c\n\nd\n")


def test_indent_of_content_is_kept():
    assert split([OPEN, *ids("x"), CLOSE, *ids("\n\n    code")]) == ("x", "    code")
    assert split([OPEN, *ids("x"), CLOSE, *ids("  \r  code")]) == ("x", "  code")
    assert split([OPEN, *ids("x"), CLOSE, *ids(" \t code")]) == ("x", " \t code")
    assert split(ids("  two")) == ("", "  two")
    assert split(ids("\n\n two")) == ("", "\n\n two")  # no mark before it


def test_empty_thought():
    assert split([OPEN, *ids("\n\n"), CLOSE, *ids("\n\nyes")]) == ("", "yes")


def test_cut_inside_the_thought():
    """What there is comes out as a thought, and the blanks at its end do not."""
    assert split([OPEN, *ids("\nso far \n")]) == ("so far", "")
    assert split(ids("\nso far é")[:-1], reasoning=True) == ("so far " + FFFD, "")


def test_without_a_mark_all_is_content():
    """Whatever the model is called: only the prompt and the marks decide."""
    assert split(ids("Well, yes.")) == ("", "Well, yes.")
    assert split(ids("Well, no."), reasoning=True) == ("Well, no.", "")


def test_prompt_that_has_opened_the_thought():
    assert split([*ids("hm\n"), CLOSE, *ids("\n\nyes")], reasoning=True) == ("hm", "yes")


@pytest.mark.parametrize("between", ["", "\n", "\n\n", " \n"])
def test_stray_closers_are_dropped(between):
    """A model whose thought was closed for it may close it again, at the start of the content or further on."""
    again = [*ids(between), CLOSE] * 2
    assert split([*ids("hm"), CLOSE, *again, *ids("\n\n  yes")], reasoning=True) == ("hm", "  yes")
    assert split([*again, *ids(between + "yes")])[1].strip() == "yes"
    assert split([CLOSE, *ids("a"), CLOSE, *ids("b")]) == ("", "ab")
    assert split([*ids("hm"), CLOSE, *again, *ids("\n\nyes END")], reasoning=True, stops=["END"]) == ("hm", "yes ")


def test_a_mark_behind_the_answer_loses_nothing():
    assert split([*ids("yes."), OPEN]) == ("", "yes.")
    assert split([*ids("yes."), OPEN, *ids("\nbut")]) == ("but", "yes.")
    assert split([*ids("yes.\n"), OPEN, CLOSE]) == ("", "yes.\n")


def test_thoughts_again():
    assert split([OPEN, OPEN, *ids("a"), CLOSE, *ids("b"), OPEN, *ids("c"), CLOSE, *ids("d")]) == ("ac", "bd")


def test_text_that_looks_like_a_mark_is_text():
    assert split(ids("<think>a</think>")) == ("", "<think>a</think>")


def test_control_tokens_are_no_text():
    assert split([*ids("a"), END, ENDOFTEXT, *ids("b")]) == ("", "ab")
    assert split([*ids("é")[:1], END, *ids("é")[1:]]) == ("", "é")


def test_characters_come_whole():
    for text in ("é", "中", "😀"):
        *begin, last = steps(ids(text))[:-1]
        assert begin == [[]] * len(begin) and last == [(text, False)]
    family = "👩‍👩‍👧🇩🇪é"
    assert "".join(text for step in steps(ids(family)) for text, _ in step) == family
    assert not any(FFFD in text for step in steps(ids(family)) for text, _ in step)


def test_garbage_comes_out_as_soon_as_it_is_known():
    assert steps(ids(b"\xf0\x9f\x98a")) == [[], [], [], [(FFFD + "a", False)], []]
    assert steps(ids(b"\xed\xa0")) == [[], [(2 * FFFD, False)], []]  # half a surrogate
    assert steps(ids(b"\xff\xe4")) == [[(FFFD, False)], [], [(FFFD, False)]]
    assert split([OPEN, *ids("é")[:1], CLOSE, *ids("x")]) == (FFFD, "x")  # cut by a mark


def test_bytes_of_every_kind():
    """All that a character may begin with and go on with, and the neighbours of both."""
    kinds = bytes.fromhex("00417f808f909fa0bfc0c1c2dfe0e1ecedeeeff0f1f3f4f5ff")
    few = bytes.fromhex("4180bfc3f0")
    for data in [*product(kinds, kinds, kinds), *product(bytes.fromhex("f0f1f4"), kinds, few, few)]:
        assert split(ids_of_bytes(data))[1] == bytes(data).decode("utf-8", "replace"), data


ID_OF_BYTE = {byte: i for i, byte in enumerate(BYTE_TO_CHAR)}


def ids_of_bytes(data) -> list[int]:
    return [ID_OF_BYTE[byte] for byte in data]


@given(st.lists(st.integers(0, VOCABULARY - 1).filter(lambda token: token not in (OPEN, CLOSE)), max_size=60))
def test_content_is_what_decode_gives(tokens):
    assert split(tokens) == ("", TOKENIZER.decode(tokens, skip_control=True))


@given(st.text(st.sampled_from("ab \n\té"), max_size=30), st.text(st.sampled_from("ab \n\té"), max_size=30))
def test_nothing_is_lost(thought, content):
    assert split([OPEN, *ids(thought), CLOSE, *ids("\n\n" + content)])[0] == thought.strip(" \t\r\n")
    kept = split([OPEN, *ids(thought), CLOSE, *ids("\n\n" + content)])[1]
    assert kept.strip() == content.strip()
    assert ("\n\n" + content).endswith(kept)
    assert split(ids("x" + content)) == ("", "x" + content)


LETTERS = st.text(st.sampled_from("abc"), max_size=20)
STOPS = st.lists(st.text(st.sampled_from("abc"), min_size=1, max_size=4), max_size=4)


def until_stop(text: str, stops: list[str]) -> str:
    """Up to the stop string that is complete first; of several, the one that began first."""
    for end in range(len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - max(map(len, ending))]
    return text


@given(LETTERS, STOPS)
def test_the_first_stop_string_ends_the_content(content, stops):
    text = _core.AnswerText(TOKENIZER.bpe, reasoning=False, stops=stops)
    shown = ""
    for length, token in enumerate(ids(content), 1):
        before = text.stopped
        pieces = text.push(token)
        assert not (before and pieces)
        shown += "".join(piece for piece, _ in pieces)
        held = content[len(shown) : length]
        if not text.stopped:  # nothing is held without a reason
            assert not held or any(stop.startswith(held) for stop in stops)
    expected = until_stop(content, stops)
    assert expected.startswith(shown)
    assert shown + "".join(piece for piece, _ in text.finish()) == expected
    assert text.stopped == (expected != content or any(content.endswith(stop) for stop in stops))


def test_stop_strings_are_looked_for_in_the_content_alone():
    assert split([OPEN, *ids("END a"), CLOSE, *ids("b END c")], stops=["END"]) == ("END a", "b ")
    assert split([*ids("EN"), OPEN, *ids("D"), CLOSE, *ids("x")], stops=["END"]) == ("D", "ENx")
    assert split([*ids("a EN"), OPEN, *ids("b"), CLOSE, *ids("Dx")], stops=["END"]) == ("b", "a ")


def test_stop_string_that_a_mark_or_the_end_completes():
    """A mark, and the end, complete a broken character."""
    for last in ([CLOSE], [OPEN], []):
        assert split([*ids("a é")[:-1], *last, *ids("b")] if last else ids("a é")[:-1], stops=[FFFD]) == ("", "a ")
    text = _core.AnswerText(TOKENIZER.bpe, reasoning=False, stops=[FFFD])
    assert [text.push(token) for token in ids("aé")[:-1]] == [[("a", False)], []] and not text.stopped
    assert text.finish() == [] and text.stopped


def test_a_mark_does_not_lose_what_is_held():
    assert steps([*ids("aEN"), CLOSE, *ids("b")], stops=["END"])[3:] == [[], [("ENb", False)], []]
    assert steps([*ids("aEN"), OPEN, *ids("b")], stops=["END"])[3:] == [[], [("b", True)], [("EN", False)]]


def test_nothing_after_a_stop():
    text = _core.AnswerText(TOKENIZER.bpe, reasoning=False, stops=["b"])
    assert [text.push(token) for token in ids("abc")] == [[("a", False)], [], []]
    assert text.stopped and not text.reasoning
    assert [text.push(token) for token in [OPEN, *ids("c"), CLOSE]] == [[], [], []]
    assert text.finish() == [] and text.reasoning_tokens == 0


def test_stop_strings_of_any_characters():
    assert split(ids("a中文b"), stops=["文"]) == ("", "a中")
    assert split(ids("a\0b"), stops=["\0"]) == ("", "a")
    assert split(ids(b"a\xed\xa0\x80b"), stops=["\ud800"]) == ("", "a" + 3 * FFFD + "b")  # no text has a lone surrogate


@pytest.mark.parametrize("stop", ["aab", "abab", "aabaab", "aabaac"])
def test_stop_strings_that_overlap_themselves(stop):
    for begin in range(len(stop)):
        content = stop[:begin] + stop
        expected = content[: content.index(stop)]
        assert split(ids(content + "x"), stops=[stop]) == ("", expected)
        assert split(ids(content[:-1]), stops=[stop])[1] == until_stop(content[:-1], [stop])


def test_thoughts_are_counted():
    text = _core.AnswerText(TOKENIZER.bpe, reasoning=False)
    for token, thoughts, reasoning in [
        (ids("a")[0], 0, False), (OPEN, 0, True), (ids("b")[0], 1, True), (ids("\n")[0], 2, True), (END, 3, True),
        (-1, 4, True), (CLOSE, 4, False), (ids("c")[0], 4, False),
    ]:  # fmt: skip
        text.push(token)
        assert (text.reasoning_tokens, text.reasoning) == (thoughts, reasoning)


@pytest.mark.parametrize("token", [-1, -(2**31), 2**31 - 1, VOCABULARY])
def test_odd_ids_are_no_text(token):
    assert split([*ids("é")[:1], token, *ids("é")[1:], token]) == ("", "é")


def test_vocabulary_without_marks():
    text = _core.AnswerText(_core.Bpe(list(BYTE_TO_CHAR.values()), [1] * 256, []))  # nobody else holds it
    assert [text.push(token) for token in [*ids("a"), OPEN, CLOSE, -1, *ids("b")]] == [
        [("a", False)], [], [], [], [("b", False)],
    ]  # fmt: skip


def test_verbatim_all_is_content():
    """Marks and the blanks beside them are text, stop strings count everywhere, and control tokens are none."""
    text = _core.AnswerText(TOKENIZER.bpe, reasoning=True, stops=["a</"], tools={}, verbatim=True)
    said = [*ids("hm"), CLOSE, *ids("\n\n"), CALL, *ids("{}"), CALLED, END, OPEN, *ids("\n a"), CLOSE, *ids("c")]
    pieces = [piece for token in said for piece in text.push(token)]
    assert joined(pieces, False) == "hm</think>\n\n<tool_call>{}</tool_call><think>\n " and text.stopped
    assert joined(pieces, True) == "" and (text.reasoning_tokens, text.tool_calls, text.reasoning) == (0, 0, False)


def test_marks_are_added_tokens():
    """Of an id that text may make, or that is not used, no mark is made; a control token is one."""
    for kind, expected in [(1, ("", "<think>a")), (3, ("a", "")), (4, ("a", "")), (5, ("", "a"))]:
        text = _core.AnswerText(_core.Bpe([*BYTE_TO_CHAR.values(), "<think>"], [1] * 256 + [kind], []))
        pieces = [*text.push(256), *text.push(ids("a")[0]), *text.finish()]
        assert (joined(pieces, True), joined(pieces, False)) == expected


def test_refusals():
    bpe = _core.Bpe(list(BYTE_TO_CHAR.values()), [1] * 256, [])
    with pytest.raises(RequestError, match="expected stop strings of at least one character, found an empty one"):
        _core.AnswerText(bpe, stops=["a", ""])
    with pytest.raises(TypeError):
        _core.AnswerText(None)
