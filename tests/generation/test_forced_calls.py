"""Tool calls that must come: at least one, or one of a named tool, with arguments of its schema (C10)."""

from __future__ import annotations

import json

import jsonschema
import pytest

import qwen3edge
from qwen3edge.errors import RequestError
from qwen3edge.generation.answer import Answer
from qwen3edge.grammar.calls import forced_calls
from qwen3edge.grammar.vocabulary import Vocabulary
from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, TEMPLATE, FakeCore, ids, make_session

CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 1, "maxLength": 8, "pattern": "^[A-Za-z]+$"},
        "days": {"$ref": "#/$defs/days"},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
    "$defs": {"days": {"type": "integer", "minimum": 1, "maximum": 14}},
}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "of a city", "parameters": CITY}},
    {"type": "function", "function": {"name": 'time "now"\\', "parameters": None}},
    {"name": "time_of_day", "parameters": {}},
]
SCHEMAS = {"weather": CITY, 'time "now"\\': {"const": {}}, "time_of_day": {"const": {}}}
WEATHER = {"type": "function", "function": {"name": "weather"}}
QUESTIONS = ["What is the weather in Prague?", "What is 12 + 7?", "What time is it?"]
BODY = '\n{"name": "weather", "arguments": {"city": "Oslo", "days": 3}}\n'
SAID = [CALL, *ids(BODY), CALLED]
WILD = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


@pytest.fixture(scope="module", params=["int4", "int8"])
def model(request, tiny_q3e):
    with qwen3edge.load(tiny_q3e(request.param), context=1024, threads=1, sequences=4, seed=1) as loaded:
        yield loaded


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("choice", ["required", WEATHER], ids=["required", "by name"])
def test_every_answer_calls(model, choice, thinking):
    ends = []
    for style in ({"temperature": 0.0}, *({**WILD, "seed": seed} for seed in range(4))):
        options = {"tools": TOOLS, "tool_choice": choice, "thinking": thinking, "thinking_budget": 9, "max_tokens": 160}
        for answer in model.generate_batch(QUESTIONS, **options, **style):
            assert answer.read() == "" and not answer.broken_calls
            ends.append(answer.finish_reason)
            for call in answer.tool_calls:
                jsonschema.validate(call.parsed, SCHEMAS[call.name])
                assert choice == "required" or call.name == "weather"
            assert answer.finish_reason in ("tool_calls", "length")
            assert answer.finish_reason == "length" or (len(answer.tool_calls) >= 1)
            assert choice == "required" or len(answer.tool_calls) <= 1
    assert ends.count("tool_calls") > len(ends) / 2


def ask(script: list[int], **options) -> Answer:
    session = make_session(FakeCore(script), TEMPLATE)
    answer = session.generate("hi", **{"tools": TOOLS, "tool_choice": "required", "temperature": 0, **options})
    answer.read()
    return answer


def test_behind_the_thoughts():
    answer = ask([OPEN, *ids("Hm."), CLOSE, *ids("\n\n"), *SAID, END])
    assert (answer.content, answer.reasoning, answer.finish_reason) == ("", "Hm.", "tool_calls")
    assert [(call.name, call.parsed) for call in answer.tool_calls] == [("weather", {"city": "Oslo", "days": 3})]


def test_several_and_one():
    twice = [*SAID, *ids("\n"), *SAID, END]
    assert len(ask(twice, thinking=False).tool_calls) == 2
    assert len(ask(twice, thinking=False, tool_choice=WEATHER).tool_calls) == 1


def test_no_call_within_the_thoughts():
    """It would end them, and the one that must come would be a second one."""
    answer = ask([OPEN, CALL, CLOSE, *SAID, END])
    assert len(answer.tool_calls) == 1 and CALL not in answer.tokens[: answer.tokens.index(CLOSE)]


def test_a_call_that_is_cut():
    """C12: what `max_tokens` cuts is no call."""
    answer = ask(SAID, thinking=False, max_tokens=20)
    assert answer.finish_reason == "length" and answer.tool_calls == []


@pytest.mark.parametrize(
    "options, named",
    [
        ({"tools": None}, "tool_choice: expected tools beside it, found none"),
        ({"tools": []}, "tool_choice: expected tools beside it, found none"),
        ({"tool_calls": False}, "tool_choice: expected no tool_calls=False"),
        ({"verbatim": True}, "tool_choice: expected no verbatim=True"),
        (
            {"tool_choice": {"type": "function", "function": {"name": "nothing"}}},
            "one of the tools 'weather', .*nothing",
        ),
        ({"json_schema": {}}, "json_schema: expected tool_choice='auto' or 'none'"),
        ({"tools": [{"type": "code"}]}, "expected a tool that is a function, found none"),
        ({"mask": lambda tokens: None}, "tool_choice: expected no mask"),
        ({"min_tokens": 3}, "tool_choice: expected no min_tokens"),
        ({"tools": [{"name": "f", "parameters": {"type": "array"}}]}, "parameters of 'f': expected .* an object"),
        ({"tools": [{"name": "f", "parameters": {"uniqueItems": True}}]}, "tool_choice: .*uniqueItems"),
        ({"tools": [{"type": "function"}]}, "tool_choice: expected a tool that is a function, found none"),
    ],
)
def test_what_is_refused(options, named):
    with pytest.raises(RequestError, match=named):
        ask([], **options)


def test_a_vocabulary_without_the_tags():
    """They are text then, in what is asked for as in what is read."""
    session = make_session(FakeCore([]))
    tokenizer = session._prompt_builder.tokenizer
    definition = forced_calls({"f": None}, None, tags_are_tokens=False)
    matcher = Vocabulary(tokenizer, [END]).matcher(definition)
    text = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    assert matcher.try_consume_tokens(ids(text)) == len(text) and matcher.is_accepting()
    assert json.loads(text[11:-12])["arguments"] == {}
