"""Tool calls in Qwen3-Coder's XML that must come: what is read of them matches the tool's schema."""

from __future__ import annotations

import jsonschema
import pytest

import qwen3edge
from qwen3edge.errors import RequestError
from qwen3edge.generation.answer import Answer
from qwen3edge.grammar.calls import forced_calls
from qwen3edge.grammar.vocabulary import Vocabulary
from qwen3edge.text.tools import declared_types
from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, TEMPLATE, FakeCore, ids, make_session, make_tokenizer
from tests.text.answers import MARKED, said

IN_XML = TEMPLATE + "{# <function= #}"
PLACE = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 1, "maxLength": 8},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "code": {"type": ["string", "null"], "minLength": 2, "maxLength": 9},
        "names": {"type": "array", "items": {"type": "string", "maxLength": 30}, "maxItems": 2},
        "unit": {"enum": ["C", "", None, 'say "K"\x7f', "None"]},
        "zip": {"type": "string", "pattern": "^[0-9]{3}", "maxLength": 5},
        "one": {"oneOf": [{"const": "x"}, {"enum": ["x", "y"]}, {"type": "null"}]},
        "height": {"type": ["number", "null"]},
        "more": {"$ref": "#/$defs/more"},
        "both": {"allOf": [{"type": ["string", "null"]}, {"type": "string", "maxLength": 5}]},
        "never": False,
    },
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"more": {"anyOf": [{"type": "boolean"}, {"type": "object", "additionalProperties": {"type": "null"}}]}},
}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "of a city", "parameters": PLACE}},
    {"name": "time_of_day", "parameters": {}},
]
SCHEMAS = {"weather": PLACE, "time_of_day": {"const": {}}}
WEATHER = {"type": "function", "function": {"name": "weather"}}
WILD = {"temperature": 3.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def parameter(key: str, text: str) -> str:
    return f"<parameter={key}>\n{text}\n</parameter>\n"


def body(**texts: str) -> str:
    return "\n<function=weather>\n" + "".join(parameter(*each) for each in texts.items()) + "</function>\n"


@pytest.fixture(scope="module")
def model(tiny_q3e):
    settings = {"context": 1024, "threads": 1, "sequences": 4, "seed": 1, "chat_template": IN_XML}
    with qwen3edge.load(tiny_q3e("int4"), **settings) as loaded:
        yield loaded


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("choice", ["required", WEATHER], ids=["required", "by name"])
def test_every_answer_calls(model, choice, thinking):
    ends, given = [], set()
    options = {"tools": TOOLS, "tool_choice": choice, "thinking": thinking, "thinking_budget": 9, "max_tokens": 320}
    for style in ({"temperature": 0.0}, *({**WILD, "seed": seed} for seed in range(9))):
        for answer in model.generate_batch(["What is the weather in Prague?", "What is 12 + 7?"], **options, **style):
            assert answer.read() == "" and not answer.broken_calls
            ends.append(answer.finish_reason)
            for call in answer.tool_calls:
                jsonschema.validate(call.parsed, SCHEMAS[call.name])
                assert choice == "required" or call.name == "weather"
                given |= call.parsed.keys()
            assert answer.finish_reason == "length" or answer.tool_calls
    assert ends.count("tool_calls") > len(ends) / 2 and (choice == "required" or len(given) > 4)


@pytest.mark.parametrize(
    "key, text, held",
    [
        ("city", "Oslo", True),
        ("city", "Oslo\n", True),
        ("city", "\n<x\n\n", True),
        ("city", "null", True),
        ("city", "", False),
        ("city", "Oslo, Norway", False),
        ("days", "14", True),
        ("days", "15", False),
        ("days", '"3"', False),
        ("code", "null", True),
        ("code", "nulls", True),
        ("code", "x", False),
        ("code", " None", False),  # it would be read as null
        ("names", "[]", True),
        ("names", '["a", "</parameter></function>"]', True),
        ("names", '[\n "a"\n]', True),
        ("names", "[1]", False),
        ("unit", "", True),
        ("unit", "C", True),
        ("unit", "null", True),
        ("unit", 'say "K"\x7f', True),
        ("unit", "None", False),
        ("unit", "F", False),
        ("zip", "123 x", True),
        ("zip", "x123", False),
        ("zip", "123456", False),
        ("one", "y", True),
        ("one", "null", True),
        ("one", "x", False),
        ("height", "-1.5e3", True),
        ("height", "null", True),
        ("height", "tall", False),
        ("more", "true", True),
        ("more", '{"</parameter></function>": null}', True),
        ("more", "[]", False),
        ("both", "ab", True),
        ("both", "null", False),
        ("never", "", False),
        ("other", "", False),
    ],
)
def test_what_is_held_is_read_as_the_schema_has_it(key, text, held):
    """By the grammar and by the reader, which are two programs."""
    definition = forced_calls({"weather": PLACE}, None, tags_are_tokens=True, in_xml=True)
    matcher = Vocabulary(make_tokenizer(), [END]).matcher(definition)
    tokens = [CALL, *ids(body(**{"city": "Rome", key: text})), CALLED]
    taken = matcher.try_consume_tokens(tokens)
    assert (taken == len(tokens) and matcher.is_accepting()) == held
    if held:
        read = said(MARKED, tokens, tools=declared_types(TOOLS)).read
        jsonschema.validate(read[0].arguments, PLACE)
        assert len(read) == 1 and read[0].arguments.keys() == {"city", key}


def ask(script: list[int], template: str = IN_XML, **options) -> Answer:
    session = make_session(FakeCore(script), template)
    answer = session.generate("hi", **{"tools": TOOLS, "tool_choice": "required", "temperature": 0, **options})
    answer.read()
    return answer


def test_no_closing_tag_in_a_string():
    """The model would write one, and the mask stands above it."""
    answer = ask([CALL, *ids(body(city="a</parameter>")), CALLED, END], thinking=False, tool_choice=WEATHER)
    assert answer.tool_calls[0].parsed == {"city": "a</param"} and answer.content == ""


def test_behind_thoughts_and_one_by_one():
    call = [CALL, *ids(body(city="Rome", code="null")), CALLED]
    answer = ask([OPEN, *ids("Hm."), CLOSE, *ids("\n\n"), *call, *ids("\n"), *call, END])
    assert (answer.content, answer.reasoning, answer.finish_reason) == ("", "Hm.", "tool_calls")
    assert [each.parsed for each in answer.tool_calls] == [{"city": "Rome", "code": None}] * 2
    assert len(ask([*call, *ids("\n"), *call, END], thinking=False, tool_choice=WEATHER).tool_calls) == 1


def held_to(**schema: object) -> dict:
    return {"type": "object", "properties": {"x": schema}}


@pytest.mark.parametrize(
    "schema, named",
    [
        ({"type": "array"}, "an object"),
        ({"minProperties": 1}, "found 'minProperties'"),
        ({"properties": {"a<b": {}}}, "a name without <.*'a<b'"),
        ({"properties": {}, "required": ["x"]}, "names as required, found .*'x'"),
        (held_to(type="string", format="date"), "'x': .* found 'format'"),
        (held_to(type="string", pattern="^a|b$"), r"whose \^ and \$ stand around all of it"),
        (held_to(type="string", pattern="a)|(b"), "whose"),
        (held_to(type="string", pattern="a(?=b)"), "look-around"),
        (held_to(type="string", pattern="a$b"), "lookarounds"),
        (held_to(enum=["</parameter>"]), "'x': expected what llguidance"),
        (held_to(type="string", pattern="^a{5}$", maxLength=3), "'x': expected what llguidance"),
        (held_to(type="string", const=1), "some text matches"),
        (held_to(type="text"), "'x': .*some text|text"),
        (held_to(**{"not": {}}), "found 'not'"),
        (held_to(type="array", uniqueItems=True), "uniqueItems"),
        (held_to(**{"$ref": "#"}), r"\$ref into \$defs"),
        ({**held_to(**{"$ref": "#/$defs/a"}), "$defs": {"a": {"$ref": "#/$defs/a"}}}, "no deeper than"),
    ],
)
def test_what_cannot_be_held_is_refused_by_name(schema, named):
    with pytest.raises(RequestError, match=named):
        ask([], tools=[{"name": "f", "parameters": schema}])
