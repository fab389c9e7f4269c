"""What an answer's tokens show, case by case. tests/text/test_answer_text_streams.py has any tokens."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3edge import _core
from qwen3edge.errors import RequestError
from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, VOCABULARY, ids, make_tokenizer
from tests.reference.byte_alphabet import BYTE_TO_CHAR, from_bytes

TOKENIZER = make_tokenizer()
PLAIN = _core.Bpe(list(BYTE_TO_CHAR.values()), [1] * 256, [])  # without the marks: text decides
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
    """A model whose thought was closed for it may close it again, at the start of the content."""
    again = [*ids(between), CLOSE] * 2
    assert split([*ids("hm"), CLOSE, *again, *ids("\n\n  yes")], reasoning=True) == ("hm", "  yes")
    assert split([*again, *ids(between + "yes")]) == ("", "yes" if "\n" in between else between + "yes")
    assert split([*ids("hm"), CLOSE, *again, *ids("\n\nyes END")], reasoning=True, stops=["END"]) == ("hm", "yes ")


def test_marks_in_the_content_are_text():
    """People ask for code about them; and an answer whose rest became a thought would be lost."""
    assert split([CLOSE, *ids("a "), CLOSE, *ids("\n b")]) == ("", "a </think>\n b")
    assert split([OPEN, *ids("a"), CLOSE, *ids("b"), OPEN, *ids("c"), CLOSE, *ids("d")]) == ("a", "b<think>c</think>d")
    assert split([*ids("yes.\n"), OPEN, CLOSE]) == ("", "yes.\n<think></think>")
    assert split([*ids("yes."), CLOSE]) == ("", "yes.</think>")


def test_a_mark_behind_the_answer_loses_nothing():
    """C4: alone it is left out, and what follows it is content."""
    assert split([*ids("yes."), OPEN]) == split([*ids("yes."), OPEN, *ids(" \n"), OPEN, END]) == ("", "yes.")
    assert split([*ids("yes.\n"), OPEN]) == ("", "yes.\n")
    assert split([*ids("yes."), OPEN, *ids("\nbut")]) == ("", "yes.<think>\nbut")


def test_marks_where_a_part_begins():
    """A prompt that opened the thought, and a model that opens it once more; or again, behind a closed one."""
    assert split([OPEN, *ids("\n"), OPEN, *ids("a"), CLOSE, *ids("b")]) == ("a", "b")
    assert split([OPEN, *ids("a"), CLOSE, *ids("b")], reasoning=True) == ("a", "b")
    assert split([OPEN, CLOSE, *ids("\n\n"), OPEN, *ids("a"), CLOSE, *ids("b")]) == ("a", "b")
    assert split([OPEN, *ids("a "), OPEN, *ids(" b"), CLOSE, *ids("c")]) == ("a <think> b", "c")


def test_an_end_of_thoughts_that_nothing_opened():
    """What stands before it was shown as content. The tag parts the two, and a stream has the text of the whole."""
    assert split([*ids("hm"), CLOSE, *ids("yes")]) == ("", "hm</think>yes")
    assert split([*ids("hm\n"), CLOSE, *ids("\n\nyes")]) == ("", "hm\n</think>\n\nyes")


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
    assert split([OPEN, *ids("EN"), CLOSE, *ids("D"), CLOSE, *ids("x")], stops=["END", "k>x"]) == ("EN", "D</thin")


def test_stop_string_that_a_mark_or_the_end_completes():
    """A mark, and the end, complete a broken character."""
    for last in ([CLOSE], [OPEN], []):
        assert split([*ids("a é")[:-1], *last, *ids("b")] if last else ids("a é")[:-1], stops=[FFFD]) == ("", "a ")
    text = _core.AnswerText(TOKENIZER.bpe, reasoning=False, stops=[FFFD])
    assert [text.push(token) for token in ids("aé")[:-1]] == [[("a", False)], []] and not text.stopped
    assert text.finish() == [] and text.stopped


def test_a_mark_does_not_lose_what_is_held():
    assert steps([*ids("aEN"), CLOSE, *ids("b")], stops=["END"])[3:] == [[("EN</think>", False)], [("b", False)], []]
    assert steps([*ids("aEN"), OPEN, *ids("b")], stops=["END"])[3:] == [[], [("EN<think>b", False)], []]
    assert steps([*ids("aEN"), OPEN], stops=["END"])[3:] == [[], [("EN", False)]]


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
        (ids("\n")[0], 0, False), (OPEN, 0, True), (OPEN, 0, True), (ids("b")[0], 1, True), (ids("\n")[0], 2, True),
        (END, 3, True), (-1, 4, True), (OPEN, 5, True), (CLOSE, 5, False), (ids("c")[0], 5, False), (OPEN, 5, False),
        (ids("d")[0], 5, False),
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
    """A control token is one. Of an id that text may make, text decides; one that is not used is nothing."""
    for kind, expected in [(1, ("a", "")), (3, ("a", "")), (4, ("a", "")), (5, ("", "a"))]:
        text = _core.AnswerText(_core.Bpe([*BYTE_TO_CHAR.values(), "<think>"], [1] * 256 + [kind], []))
        pieces = [*text.push(256), *text.push(ids("a")[0]), *text.finish()]
        assert (joined(pieces, True), joined(pieces, False)) == expected


def plain_steps(said: str, *, reasoning: bool = False, stops=()) -> list[list[tuple[str, bool]]]:
    """Of a vocabulary without the marks, for each of its bytes and for the end."""
    text = _core.AnswerText(PLAIN, reasoning=reasoning, stops=stops)
    return [*(text.push(token) for token in ids(said)), text.finish()]


def plain_split(said: str, *, reasoning: bool = False, stops=()) -> tuple[str, str]:
    pieces = [piece for step in plain_steps(said, reasoning=reasoning, stops=stops) for piece in step]
    return joined(pieces, True), joined(pieces, False)


@pytest.mark.parametrize("between", ["", "\n", "\n\n", " \n"])
def test_tags_that_are_no_tokens(between):
    """Text decides then, by the same rules."""
    said = f"<think>{between}hm{between}</think>{between}yes"
    assert plain_split(said)[0] == plain_split(said.removeprefix("<think>"), reasoning=True)[0] == "hm"
    assert plain_split(said)[1].lstrip() == "yes"
    assert plain_split(f"</think>{between}</think>\n\n  yes") == ("", "  yes")
    assert plain_split("hm</think>yes") == ("", "hm</think>yes")
    assert plain_split("yes.<think>" + between) == ("", "yes.")
    assert plain_split(f"yes.<think>{between}but</think>") == ("", f"yes.<think>{between}but</think>")
    assert plain_split("<think><think>a <think> b</think>c") == ("a <think> b", "c")
    assert plain_split("<think>EN</think>D END x", stops=["END"]) == ("EN", "D ")


@pytest.mark.parametrize("end", range(2, len("</think>")))
def test_an_unfinished_tag_at_the_end(end):
    """It is left out where it would have been one, and is text elsewhere."""
    opener, closer = "<think>"[:end], "</think>"[:end]
    if end < len("<think>"):
        assert plain_split(opener) == ("", "")
    assert plain_split(closer) == ("", "")
    assert plain_split("<think>hm\n" + closer) == ("hm", "")
    assert plain_split("<think>hm\n" + closer + " no") == ("hm\n" + closer + " no", "")
    assert plain_split("yes " + closer) == ("", "yes " + closer)
    assert plain_split("yes <") == ("", "yes <") and plain_split("<think>hm <") == ("hm <", "")


def test_an_unfinished_tag_before_the_end_of_thoughts():
    """As where a budget ends them in the middle of the model's own end."""
    assert plain_split("<think>hm</thi</think>yes") == ("hm", "yes")
    assert plain_split("<think>hm</thi<p></think>yes") == ("hm</thi<p>", "yes")
    assert plain_split("<think></th</thi</think>yes") == ("</th", "yes")


def test_only_what_may_become_a_tag_is_held_back():
    assert plain_steps("a<b") == [[("a", False)], [], [("<b", False)], []]
    assert plain_steps("a</t") == [[("a", False)], [], [("</", False)], [("t", False)], []]
    assert plain_steps("</tx") == [[], [], [], [("</tx", False)], []]
    assert plain_steps("a</p", reasoning=True) == [[("a", True)], [], [], [("</p", True)], []]
    assert plain_steps("a<t", reasoning=True) == [[("a", True)], [], [("<t", True)], []]
    text = _core.AnswerText(TOKENIZER.bpe, reasoning=True)  # whose marks are tokens
    assert [text.push(token) for token in ids("a</t")] == [[(piece, True)] for piece in "a</t"]


def test_tokens_of_a_tag_are_no_thoughts():
    """They count until it is complete, so that there are never too few; one that has a part of the thought counts."""
    opened = [(b"<th", 0), (b"ink>", 0), (b"\nh", 1), (b"me", 2), (b"</", 3), (b"p>", 4)]
    closed = [(b"</", 5), (b"think", 6), (b">\n", 4), (b"yes", 4)]
    again = [(b"<th", 1), (b"ink>", 0), (b"m<", 1), (b"/think>", 1)]  # in thoughts that the prompt has opened
    for reasoning, said in ((False, opened + closed), (True, again)):
        tokens = list(dict.fromkeys(part for part, _ in said if len(part) > 1))
        stored = [*BYTE_TO_CHAR.values(), *map(from_bytes, tokens)]
        text = _core.AnswerText(_core.Bpe(stored, [1] * len(stored), []), reasoning=reasoning)
        for part, count in said:
            text.push(256 + tokens.index(part))
            assert text.reasoning_tokens == count, part


def test_refusals():
    bpe = _core.Bpe(list(BYTE_TO_CHAR.values()), [1] * 256, [])
    with pytest.raises(RequestError, match="expected stop strings of at least one character, found an empty one"):
        _core.AnswerText(bpe, stops=["a", ""])
    with pytest.raises(TypeError):
        _core.AnswerText(None)
