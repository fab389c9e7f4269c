"""A schema beside tools that may be called: an answer is content of the schema, or calls of theirs alone."""

from __future__ import annotations

import json

import jsonschema
import pytest

import qwen3edge
from qwen3edge.errors import RequestError
from qwen3edge.generation.answer import Answer
from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, TEMPLATE, FakeCore, ids, make_session

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "pattern": "^[A-Za-z]{1,8}$"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "of a city", "parameters": CITY}}]
SUM = {
    "type": "object",
    "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 999}},
    "required": ["sum"],
    "additionalProperties": False,
}
JSON, XML = (
    '\n{"name": "weather", "arguments": {"city": "Oslo"}}\n',
    ("\n<function=weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n"),
)
BEGIN = '{"sum": '
TEMPLATES = {"json": TEMPLATE, "xml": TEMPLATE + "{# <function= #}"}
WILD = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


@pytest.mark.parametrize("form", TEMPLATES)
def test_either_calls_or_content(tiny_q3e, form):
    """Of the tiny model, which wants to call where it is asked for the weather, and not where it is to add."""
    calls, contents = 0, 0
    settings = {"context": 1024, "threads": 1, "sequences": 4, "seed": 1}
    settings |= {"chat_template": TEMPLATES[form]} if form == "xml" else {}
    questions = ["What is the weather in Prague?", "What is 12 + 7?"]
    options = {"tools": TOOLS, "json_schema": SUM, "thinking_budget": 9, "max_tokens": 300}
    with qwen3edge.load(tiny_q3e("int8"), **settings) as model:
        bias = {model.tokenizer.token_id("<tool_call>"): 4.0} if form == "xml" else None  # it knows JSON alone
        for thinking in (False, True):
            for style in ({"temperature": 0.0}, *({**WILD, "seed": seed} for seed in range(3))):
                for answer in model.generate_batch(questions, **options, **style, thinking=thinking, logit_bias=bias):
                    content = answer.read()
                    assert not answer.broken_calls
                    for call in answer.tool_calls:
                        jsonschema.validate(call.parsed, CITY)
                    if answer.finish_reason == "stop":
                        jsonschema.validate(json.loads(content), SUM)
                        assert not answer.tool_calls
                    elif answer.finish_reason == "tool_calls":
                        assert content == ""
                    calls, contents = calls + bool(answer.tool_calls), contents + bool(content)
    assert min(calls, contents) > 1, (calls, contents)


def ask(script: list[int], template: str = TEMPLATE, **options) -> Answer:
    session = make_session(FakeCore(script), template)
    answer = session.generate("hi", **{"tools": TOOLS, "temperature": 0, **options})
    answer.read()
    return answer


@pytest.mark.parametrize("form, call", [("json", JSON), ("xml", XML)])
@pytest.mark.parametrize(
    "asked, content",
    [
        ({"json_schema": SUM}, '{"sum": 19}'),
        ({"regex": "[a-z<_>]+"}, "<tool_call>"),  # in letters
        ({"one_of": ["yes", "no"]}, "no"),
        ({"grammar": 'start: "a" B\nB: "b"\n%ignore / +/'}, "a  b"),
        ({"grammar": 'root ::= "a" b\nb ::= "b"+'}, "abbb"),
    ],
)
def test_by_what_the_answer_begins_with(form, call, asked, content):
    template = TEMPLATES[form]
    said = [OPEN, *ids("Hm."), CLOSE, *ids("\n\n")]
    answer = ask([*said, *ids(content), END], template, **asked)
    assert (answer.content, answer.tool_calls, answer.finish_reason) == (content, [], "stop")
    answer = ask([*said, CALL, *ids(call), CALLED, END], template, **asked)
    assert (answer.content, answer.finish_reason) == ("", "tool_calls")
    assert [each.parsed for each in answer.tool_calls] == [{"city": "Oslo"}]


def test_no_text_before_a_call_and_none_behind():
    call = [CALL, *ids(JSON), CALLED]
    assert ask([*ids(BEGIN), *call, END], json_schema=SUM, thinking=False).tool_calls == []
    answer = ask([*call, *ids("Here."), END], json_schema=SUM, thinking=False)
    assert answer.content == "" and len(answer.tool_calls) >= 1


def test_tools_that_are_not_to_be_called():
    """Then the content matches, whatever the model would say."""
    for options in ({"tool_choice": "none"}, {"tool_calls": False}, {"tools": [{"type": "code"}]}):
        answer = ask([CALL, *ids(JSON), CALLED, END], **{"one_of": ["yes", "no"], "thinking": False, **options})
        assert answer.content in ("yes", "no") and answer.tool_calls == []


@pytest.mark.parametrize(
    "options, named",
    [
        ({"tool_choice": "required"}, "json_schema: expected tool_choice='auto' or 'none' beside it"),
        ({"tools": [{"name": "f", "parameters": {"uniqueItems": True}}]}, "tool_choice: .*uniqueItems"),
        ({"json_schema": {"uniqueItems": True}}, "json_schema: .*uniqueItems"),
    ],
)
def test_what_is_refused(options, named):
    with pytest.raises(RequestError, match=named):
        ask([], **{"json_schema": SUM, **options})
