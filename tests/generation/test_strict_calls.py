"""Functions with `strict`: wherever the model calls one, its arguments match the schema; all else is free."""

from __future__ import annotations

import random

import jsonschema
import pytest

import qwen3edge
from qwen3edge import _core
from qwen3edge.errors import RequestError
from qwen3edge.generation.answer import Answer
from qwen3edge.generation.grammars import Grammars
from qwen3edge.grammar.calls import strict_calls
from qwen3edge.text.prompt import Prompt
from qwen3edge.text.tokenizer import Tokenizer
from tests.generation.fakes import (
    CALL,
    CALLED,
    CLOSE,
    END,
    OPEN,
    TEMPLATE,
    FakeCore,
    ids,
    make_session,
    make_tokenizer,
)

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "pattern": "^[A-Za-z]{1,8}$"}},
    "required": ["city"],
    "additionalProperties": False,
}
STRICT = {"type": "function", "function": {"name": "weather", "strict": True, "parameters": CITY}}
FREE = {"type": "function", "function": {"name": "weathers", "parameters": CITY}}
ODD = {"name": 'say "x"\\', "strict": False, "parameters": {}}
TOOLS = [STRICT, FREE, ODD]
IN_XML = TEMPLATE + "{# <function= #}"
FORMS = ["json", "xml"]
TEMPLATES = {"json": TEMPLATE, "xml": IN_XML}
WILD = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def said(form: str, name: str, city: str) -> list[int]:
    """A call, as the model writes it."""
    body = f'{{"name": "{name}", "arguments": {{"city": "{city}"}}}}'
    if form == "xml":
        body = f"<function={name}>\n<parameter=city>\n{city}\n</parameter>\n</function>"
    return [CALL, *ids(f"\n{body}\n"), CALLED]


def ask(script: list[int], form: str = "json", **options) -> Answer:
    session = make_session(FakeCore(script), TEMPLATES[form])
    answer = session.generate("hi", **{"tools": TOOLS, "temperature": 0, "max_tokens": 300, **options})
    answer.read()
    return answer


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("thinking", [False, True])
def test_arguments_of_a_strict_function_match(form, thinking):
    """The model would write a number into the city."""
    before = [OPEN, *ids("Hm."), CLOSE, *ids("\n\n")] if thinking else []
    answer = ask([*before, *ids("Let me see. "), *said(form, "weather", "Os1o"), END], form, thinking=thinking)
    assert answer.content == "Let me see." and not answer.broken_calls
    (call,) = answer.tool_calls
    jsonschema.validate(call.parsed, CITY)
    assert call.name == "weather" and call.parsed["city"].startswith("Os")
    free = ask([*said(form, "weather", "Os1o"), END], form, tools=[{**STRICT["function"], "strict": False}])
    assert free.tool_calls[0].parsed == {"city": "Os1o"}, "or the test says nothing"


@pytest.mark.parametrize("form", FORMS)
def test_the_answer_is_the_models_own_where_it_matches(form):
    call, free = said(form, "weather", "Oslo"), said(form, "weathers", "O\\n2 <>")
    script = [*ids("First: "), *call, *ids("\nthen "), *free, *ids("and"), *call, *ids(" {done} é"), END]
    answer = ask(script, form, thinking=False)
    assert answer.tokens == script and not answer.broken_calls
    assert [each.name for each in answer.tool_calls] == ["weather", "weathers", "weather"]
    assert answer.finish_reason == "tool_calls"


@pytest.mark.parametrize("form", FORMS)
def test_other_functions_are_free(form):
    """Also those that nobody declared, a call that breaks, and an answer that ends within one."""
    for call in (said(form, "weathers", "1"), said(form, "weath", "2"), said(form, "nothing", "3 ' "), [CALL]):
        script = [*call[:-1], *([CALLED] if len(call) > 1 else call), END]
        answer = ask(script, form, thinking=False)
        assert answer.tokens == script or len(call) == 1
    begin = '\n{"name": "free", ' if form == "json" else "\n<function=free>"
    for script in ([CALL, *ids(begin + "}}}"), END], [CALL, *ids(begin), *said(form, "weather", "Rome"), END]):
        answer = ask(script, form, thinking=False)
        assert answer.tokens == script and len(answer.broken_calls) == 1


def test_a_name_that_json_escapes():
    call = [CALL, *ids('\n{"name": "say \\"x\\"\\\\", "arguments": {"a": 1}}\n'), CALLED]
    answer = ask([*call, END], thinking=False)
    assert answer.tokens == [*call, END] and answer.tool_calls[0].name == 'say "x"\\'
    dodged = ask([CALL, *ids('\n{"name": "weath\\u0065r", "arguments": {"city": 1}}\n'), CALLED, END], thinking=False)
    assert "weather" not in [each.name for each in dodged.tool_calls if each.parsed == {"city": 1}]


@pytest.mark.parametrize("form", FORMS)
def test_a_call_within_thoughts(form):
    script = [OPEN, *ids("Hm. "), *said(form, "weather", "Rome"), *ids("Done."), END]
    answer = ask(script, form)
    assert (answer.reasoning, answer.content, answer.tokens) == ("Hm.", "Done.", script)
    held = ask([OPEN, *ids("Hm. "), *said(form, "weather", "R0me"), END], form)
    jsonschema.validate(held.tool_calls[0].parsed, CITY)


def test_a_budget_of_thoughts_beside_it():
    answer = ask([OPEN, *ids("Hmmmmm"), *said("json", "weather", "R0me"), END], thinking_budget=3)
    assert answer.usage.reasoning_tokens == 3
    assert all(jsonschema.validate(call.parsed, CITY) is None for call in answer.tool_calls)


def test_a_call_that_is_cut():
    answer = ask(said("json", "weather", "Oslo"), thinking=False, max_tokens=20)
    assert answer.finish_reason == "length" and answer.tool_calls == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("of", ["bytes", "words"])
def test_back_to_any_place(tiny_q3e, of, form, seed):
    """What drafts need: after a way forth and back it allows what it did before. Tokens of several characters reach
    over the places where something free begins.
    """
    draw = random.Random(seed)
    tokenizer = Tokenizer.from_metadata(_core.ModelFile(str(tiny_q3e("int8")))) if of == "words" else make_tokenizer()
    definition = strict_calls({"weather": CITY, "weathers": CITY}, ["weather"], in_xml=form == "xml")
    grammars = Grammars(tokenizer, [tokenizer.token_id("<|im_end|>")])

    def new():
        return grammars.follower(definition, Prompt((), False, False))

    text = make_tokenizer().decode
    call, free = (text(said(form, *each)) for each in (("weather", "Oslo"), ("weathers", "17")))
    tokens = tokenizer.encode(f"a{call}{free}b {call}\n{call}c", allow_special=True)

    def copied(mask):
        return None if mask is None else mask.tolist()

    straight, allowed = new(), []
    allowed.append(copied(straight([])))
    for token in tokens:
        allowed.append(copied(straight([token])))
        assert allowed[-2] is None or allowed[-2][token // 32] >> token % 32 & 1, "the text is allowed"
    assert {each is None for each in allowed} == {True, False}
    follower, at = new(), 0
    follower([])
    for _ in range(300):
        most = min(len(tokens) - at, 40)
        forth = draw.randrange(most + 1)
        found = follower(tokens[at : at + forth])
        assert copied(found) == allowed[at + forth]
        back = draw.randrange(forth + 1)
        follower.rewind(back)
        at += forth - back
        if at == len(tokens):
            follower, at = new(), 0
            follower([])


def test_a_model_alone_in_a_batch_and_with_drafts(tiny_q3e):
    path, calls, found = tiny_q3e("int8"), 0, []
    settings = {"context": 1024, "threads": 1, "seed": 1}
    questions = ["What is the weather in Prague?", "What is the weather in Rome?", "What is 12 + 7?"]
    strict = {"name": "get_weather", "description": "Get the weather of a city", "strict": True, "parameters": CITY}
    tools = [{"type": "function", "function": strict}, FREE]
    ways = [{"temperature": 0.0}, *({**WILD, "seed": seed} for seed in range(4))]
    for more in ({}, {"sequences": 4}, {"draft_tokens": 6}):
        with qwen3edge.load(path, **settings, **more) as model:
            bias = {model.tokenizer.token_id("<tool_call>"): 6.0}
            said = []
            for way in ways:
                options = {"tools": tools, "thinking": False, "max_tokens": 90, "logit_bias": bias, **way}
                if "sequences" in more:
                    answers = model.generate_batch(questions, **options)
                else:
                    answers = [model.generate(question, **options) for question in questions]
                for answer in answers:
                    answer.read()
                    said.append(answer.tokens)
                    for call in answer.tool_calls:
                        if call.name == "get_weather":
                            jsonschema.validate(call.parsed, CITY)
                            calls += 1
            found.append(said)
    assert found[0] == found[1] == found[2]
    assert calls > 10


@pytest.mark.parametrize(
    "options, named",
    [
        ({"mask": lambda tokens: None}, "mask: expected no tools with strict beside it"),
        ({"tools": [{"name": "f", "strict": "yes"}]}, "strict as true or false, found 'yes'"),
        (
            {"tools": [{"name": "f", "strict": True, "parameters": {"type": "array"}}]},
            "parameters of 'f': expected .* an object",
        ),
        (
            {"tools": [{"name": "f", "strict": True, "parameters": {"uniqueItems": True}}]},
            "tools, strict: .*uniqueItems",
        ),
    ],
)
def test_what_is_refused(options, named):
    with pytest.raises(RequestError, match=named):
        ask([], **options)


def test_strict_says_nothing_where_no_call_is_read():
    broken = [{"name": "f", "strict": True, "parameters": {"uniqueItems": True}}]
    for options in ({"tool_choice": "none"}, {"tool_calls": False}, {"verbatim": True}):
        assert ask([*ids("Yes."), END], tools=broken, thinking=False, **options).content == "Yes."


def test_a_vocabulary_without_the_tags(monkeypatch):
    session = make_session(FakeCore([]))
    monkeypatch.setattr(type(session._prompt_builder), "call_tags_are_tokens", lambda self: False)
    with pytest.raises(RequestError, match="tools: expected <tool_call> and </tool_call> in the vocabulary"):
        session.generate("hi", tools=TOOLS)
