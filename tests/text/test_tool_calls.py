"""Tool calls in an answer's tokens: what models were seen to do, case by case."""

from __future__ import annotations

import json

import pytest

from qwen3edge import _core
from tests.generation import fakes
from tests.generation.fakes import CALL, CALLED
from tests.reference.tool_calls import CLOSE, Call
from tests.reference.tool_calls import OPEN as TAG
from tests.text.answers import HELLO, MARKED, NO_TOOLS, PLAIN, Outcome, answer, marked, said

BOTH = pytest.mark.parametrize("way", ["tokens", "text"])


@BOTH
def test_text_before_and_between(way):
    """C8: no tag is left in the content, with nothing thought before it."""
    found = answer(way, f"Let me look.\n{TAG}\n{HELLO}\n{CLOSE}\n{TAG}{HELLO}{CLOSE}")
    assert (found.content, found.read) == ("Let me look.", 2 * [Call("f", {"a": 1})])
    found = answer(way, f"One.\n\n{TAG}{HELLO}{CLOSE}\n  two\n{TAG}{HELLO}{CLOSE}\nthree\n")
    assert (found.content, len(found.read)) == ("One.\n\n  two\nthree\n", 2)


def test_thoughts_that_the_template_closed_or_opened():
    """C1, C2: only the prompt says where an answer begins."""
    assert answer("tokens", f"hm\n</think>\n\n{TAG}{HELLO}{CLOSE}", reasoning=True) == Outcome(
        "hm", "", [["f", '{"a": 1}', "complete"]]
    )
    assert answer("tokens", "Well, yes.").content == "Well, yes."  # C3


@BOTH
def test_a_tag_behind_the_answer_loses_nothing(way):
    """C4"""
    assert answer(way, f"yes.{TAG}").content == answer(way, "yes.").content == "yes."
    assert answer(way, f"yes.\n{TAG}{{").content == f"yes.\n{TAG}{{"
    assert answer(way, "yes.<think>").content == answer(way, "yes.<think>\n").content == "yes."
    assert answer(way, f"yes.\n<think>{TAG}{HELLO}{CLOSE}").content == "yes.\n<think>"


BROKEN = [
    '{"name": "f", "arguments": {"a": 1}', '{"name": "f", }', '{"name": 1}', "f(1)", '{"name": "f", "arguments": [1]}',
    '{"name": "f", "arguments": "[1]"}', '{"name": ""}', "{}", '{"name": "f"} {', '{"name": "a\nb"}', "<function=>",
    "<function=f>x", "<function=f></function>x",
    "<function=f><parameter=a>1</parameter><parameter=a>1</parameter></function>",
]  # fmt: skip


@BOTH
def test_broken_calls_stay_content(way):
    """C4: with the reason beside them, and whatever follows is read."""
    for body in BROKEN:
        found = answer(way, f"So.\n{TAG}\n{body}\n{CLOSE}\n")
        assert (found.content, found.read) == (f"So.\n{TAG}\n{body}\n{CLOSE}\n", []), body
        assert len(found.problems) == 1 and found.problems[0].startswith("expected ")
    found = answer(way, f'{TAG}{{"name" "f"}}{CLOSE}\n{TAG}{HELLO}{CLOSE}')
    assert (found.content, found.read) == (f'{TAG}{{"name" "f"}}{CLOSE}', [Call("f", {"a": 1})])


@BOTH
def test_a_call_that_was_announced_breaks(way):
    found = answer(way, f'{TAG}{{"name": "f", "arguments": {{"a": 1,}}}}{CLOSE}{TAG}{HELLO}{CLOSE}')
    assert [state for _, _, state in found.calls] == ["broken", "complete"]
    assert found.content == f'{TAG}{{"name": "f", "arguments": {{"a": 1,}}}}{CLOSE}'


def test_tag_split_over_tokens():
    """C5, C7: text decides where the vocabulary has no token."""
    data = f"<{TAG}{HELLO}{CLOSE}<".encode()
    assert said(PLAIN, fakes.ids(data)) == Outcome("", "<<", [["f", '{"a": 1}', "complete"]])


@BOTH
def test_length_inside_thoughts(way):
    """C6"""
    assert answer(way, "<think>so far", cut=True) == Outcome("so far")


@BOTH
def test_a_call_ends_thoughts(way):
    """C7"""
    found = answer(way, f"<think>\nI will look.\n{TAG}\n{HELLO}\n{CLOSE}\nDone.")
    assert found == Outcome("I will look.", "Done.", [["f", '{"a": 1}', "complete"]])
    assert answer(way, f"hm{TAG}{HELLO}{CLOSE}</think>\n\nyes", reasoning=True).content == "yes"


@BOTH
def test_thoughts_behind_a_call(way):
    """Where a part of the answer begins, they may begin again."""
    found = answer(way, f"So.\n{TAG}{HELLO}{CLOSE}\n<think>and\n</think>\n\nyes <think>")
    assert found == Outcome("and", "So.\nyes ", [["f", '{"a": 1}', "complete"]])


@BOTH
def test_a_tag_that_thoughts_speak_of(way):
    """C7, the other way round: what is no call stays a thought, and they go on."""
    found = answer(way, f"<think>I write {TAG} and\n{CLOSE} then.</think>yes")
    assert (found.thoughts, found.content, found.read) == (f"I write {TAG} and\n{CLOSE} then.", "yes", [])
    said = f"<think>a {TAG} b"
    text = _core.AnswerText(MARKED if way == "tokens" else PLAIN, tools=NO_TOOLS)
    for token in marked(said) if way == "tokens" else fakes.ids(said):
        text.push(token)
    assert text.reasoning and text.reasoning_tokens == len("a  b") + (1 if way == "tokens" else len(TAG))


@BOTH
@pytest.mark.parametrize("behind", ["", " ", "\n", CLOSE[:5]])
def test_a_cut_call_is_not_complete(way, behind):
    """C12: not even one that lacks its closing tag alone; the model itself may leave that away."""
    for end in range(1, len(HELLO) + 1):
        found = answer(way, f"So.\n{TAG}{HELLO[:end]}", cut=True)
        assert (found.content, found.read, found.problems) == ("So.", [], [])
    ended = behind if way == "text" else behind.strip("</tol")
    assert answer(way, f"So.\n{TAG}{HELLO}{ended}", cut=True).read == []
    assert answer(way, f"So.\n{TAG}{HELLO}{ended}").read == [Call("f", {"a": 1})]


def test_a_call_that_the_next_mark_ends():
    """Models leave the closing tag away before the next call, too."""
    found = answer("tokens", f"{TAG}{HELLO}\n{TAG}\n{HELLO}</think>yes")
    assert (found.content, found.read) == ("yes", 2 * [Call("f", {"a": 1})])


@BOTH
def test_braces_quotes_and_tags_in_strings(way):
    """C13"""
    arguments = {"a": "}}{", "b": '"\\"}', "c": f"{CLOSE}{TAG}</think>", "d": "\\", f"{CLOSE}": ["]", {"}": "<think>"}]}
    for body in (
        json.dumps({"name": "f", "arguments": arguments}),
        json.dumps({"name": "f", "arguments": json.dumps(arguments)}),
    ):
        assert answer(way, TAG + body + CLOSE + "yes") == Outcome("", "yes", [["f", json.dumps(arguments), "complete"]])


@BOTH
@pytest.mark.parametrize(
    "rest",
    [
        "",
        ', "arguments": {}',
        ', "arguments": null',
        ', "arguments": ""',
        ', "arguments": "{}"',
        ', "arguments": "null"',
    ],
)
def test_no_arguments(way, rest):
    """C14"""
    assert answer(way, f'{TAG}{{"name": "f"{rest}}}{CLOSE}').calls == [["f", "{}", "complete"]]
    assert answer(way, f"{TAG}<function=f>\n</function>{CLOSE}").calls == [["f", "{}", "complete"]]


@BOTH
def test_arguments_stay_as_they_were_written(way):
    """So that the next prompt can repeat them (C31)."""
    written = '{ "b":1.50, "a" : "\\u00e9é" ,"b": 1}'
    assert answer(way, f'{TAG}{{"name":"f","arguments":{written}}}{CLOSE}').calls == [["f", written, "complete"]]


@BOTH
def test_names_and_keys_with_escapes(way):
    body = '{"n\\u0061me": "\\ud83d\\ude00\\/\\n\\ud800", "\\u0061rguments": {}}'
    assert answer(way, TAG + body + CLOSE).calls == [["😀/\n\ufffd", "{}", "complete"]]


def xml(value: str, *kinds: str) -> str:
    found = answer(
        "text", f"{TAG}<function=f><parameter=x>\n{value}\n</parameter></function>{CLOSE}", tools={"f": {"x": kinds}}
    )
    [call] = found.read
    return json.dumps(call.arguments["x"])


@pytest.mark.parametrize(
    ("kinds", "value", "expected"),
    [
        (["string"], "12", '"12"'), ([], "12", '"12"'), (["whatever"], "12", '"12"'), (["string"], "null", '"null"'),
        (["integer"], "12", "12"), (["integer"], " -3\n", "-3"), (["integer"], "twelve", '"twelve"'),
        (["integer"], "012", '"012"'),
        (["number"], "1.5e3", "1500.0"), (["number"], "NaN", '"NaN"'), (["boolean"], "true", "true"),
        (["boolean"], "True", "true"),
        (["boolean"], "1", '"1"'), (["object"], '{"a": [1,\n 2]}', '{"a": [1, 2]}'), (["object"], "[1]", '"[1]"'),
        (["array"], "[1]", "[1]"), (["array"], "['a']", "\"['a']\""), (["null"], "None", "null"),
        (["object"], "", '""'),
        (["integer", "null"], "null", "null"), (["string", "null"], "null", "null"),
        (["string", "integer"], "5", '"5"'),
        (["string", "null"], "text", '"text"'), (["array", "object"], "{}", "{}"),
    ],
)  # fmt: skip
def test_types_of_xml_values(kinds, value, expected):
    assert xml(value, *kinds) == expected


def test_line_breaks_around_xml_values():
    for value in (
        "",
        "\n",
        "\n\n",
        " x",
        "x\n",
        "\nx\n",
        "</parameter>",
        "</parameter>\n</parameter>",
        "<parameter=x>",
        "a\n</function>",
    ):
        assert xml(value) == json.dumps(value)
    for tight in ("x", " x", "é"):
        assert answer("text", f"{TAG}<function=f><parameter=x>{tight}</parameter></function>{CLOSE}").read == [
            Call("f", {"x": tight})
        ]
    endless = "</parameter>" + 300 * " "
    assert xml(endless) == json.dumps(endless)


@pytest.mark.parametrize(
    ("kinds", "value", "expected"),
    [
        (["array"], '["</parameter></function>"]', ["</parameter></function>"]),
        (["object"], '{"a\\"</parameter> <parameter=": {}}', {'a"</parameter> <parameter=': {}}),
        (["array"], '["</parameter></function', '["</parameter></function'),  # a string that never ends
        (["number"], '12"', '12"'),
    ],
)
def test_the_end_of_a_value_within_a_string_of_json(kinds, value, expected):
    """It is text there, as it could be in no other form; what is no JSON ends as before."""
    text = f"{TAG}<function=f><parameter=x>\n{value}\n</parameter>\n</function>{CLOSE}"
    found = answer("text", text, tools={"f": {"x": kinds}})
    assert [call.arguments for call in found.read] == [{"x": expected}]


def test_values_stream():
    """Strings come as they are written, and nothing is held but what may end them."""
    text, shown = _core.AnswerText(MARKED, tools=NO_TOOLS), ""
    for token in marked(f"{TAG}<function=f><parameter=x>\nab < c\n\nd"):
        shown += "".join(piece for piece, what in text.push(token) if what == "arguments")
    assert shown == '{"x": "ab < c\\n\\nd'
    text = _core.AnswerText(MARKED, tools=NO_TOOLS)
    steps = [text.push(token) for token in marked(f'{TAG}{{"name": "f", "arguments": {{"a": "bc')]
    assert steps[12] == [("f", "begun")] and steps[-1] == [("c", "arguments")] and steps[-2] == [("b", "arguments")]


# ---- marks as text ----


@pytest.mark.parametrize("closer", ["</think>", "\n</think>\n\n", "</think></think>\n</think>"])
@BOTH
def test_closers_at_the_start(way, closer):
    """C19: of a model whose thoughts were closed for it."""
    assert answer(way, f"{closer}yes").content == "yes"
    assert answer(way, f"{closer}{TAG}{HELLO}{CLOSE}").read == [Call("f", {"a": 1})]


def test_tags_elsewhere_are_text():
    """People ask for code about them. Where they are tokens, their tokens decide."""
    for text in (
        "Write </think> there.",
        "a <think>a</think>",
        "</tool_call>",
        "a </thin",
        "x </think>\n</think>",
        "< tool_call>",
    ):
        assert said(PLAIN, fakes.ids(text)).content == text
        assert said(MARKED, fakes.ids(text)).content == text
    for way in ("tokens", "text"):
        text = "Write <think> and </think> there, not </think>\nalone."
        assert answer(way, text) == answer(way, text, tools=None) == Outcome("", text)
    assert said(MARKED, fakes.ids("<think>a</think>")).content == "<think>a</think>"
    assert said(MARKED, fakes.ids(f"a {TAG}{HELLO}{CLOSE}")).content == f"a {TAG}{HELLO}{CLOSE}"
    assert answer("tokens", f"a{CLOSE}b").content == "ab"  # a mark that changes nothing


@pytest.mark.parametrize("end", range(2, len(TAG)))
def test_unfinished_tag_at_the_end(end):
    assert said(PLAIN, fakes.ids("yes" + TAG[:end]), cut=True).content == "yes"
    assert said(PLAIN, fakes.ids("yes" + TAG[:end] + " no")).content == "yes" + TAG[:end] + " no"
    assert said(PLAIN, fakes.ids("a <")).content == "a <"


@pytest.mark.parametrize("name", ["éa", "中", "😀"])
@BOTH
def test_characters_come_whole(way, name):
    """C26: also where a mark, or the end, cuts one."""
    body = json.dumps({"name": name, "arguments": {"x": name}}, ensure_ascii=False)
    found = answer(way, TAG + body + CLOSE)
    assert found.read == [Call(name, {"x": name})]
    half = fakes.ids("é")[:1]
    assert said(MARKED, [*half, CALL, *fakes.ids(HELLO), CALLED, *half]).content == 2 * "\ufffd"
    assert said(MARKED, [CALL, *fakes.ids(HELLO), *half, CALLED]).content == f"{TAG}{HELLO}\ufffd{CLOSE}"


@BOTH
def test_stop_strings_are_looked_for_in_the_content_alone(way):
    """C27: dormant in thoughts and calls, and checked in what turned out to be none."""
    body = '{"name": "END", "arguments": {"a": "END"}}'
    found = answer(way, f"{TAG}{body}{CLOSE}a END b", stops=["END"])
    assert (found.content, found.read) == ("a ", [Call("END", {"a": "END"})])
    assert answer(way, f"a{TAG}x END b", stops=["END"]).content == f"a{TAG}x "
    assert answer(way, f"a{TAG}{{}} {TAG}{HELLO}{CLOSE}", stops=["{}"]).read == []
    assert answer(way, f"EN{TAG}{HELLO}{CLOSE}x", stops=["END"]).content == "ENx"


@BOTH
def test_without_tools_calls_are_text(way):
    text = f"So.\n{TAG}{HELLO}{CLOSE}\n"
    assert answer(way, text, tools=None) == Outcome("", text)
