"""Answers that must match something. C-numbers are those of failures that other servers had."""

from __future__ import annotations

import json
import re
import sys

import jsonschema
import pytest

import qwen3edge
from bench.sessions.files import budget_for
from qwen3edge.errors import GrammarError, MemoryBudgetError, MissingExtraError, RequestError, UnsupportedModelError
from qwen3edge.generation.answer import Answer
from qwen3edge.grammar import vocabulary
from qwen3edge.grammar.definition import MAX_CHARACTERS
from tests.generation.fakes import CLOSE, END, OPEN, FakeCore, ids, make_session

HI = [{"role": "user", "content": "hi"}]
OPENED = "{{ messages[0].content }}<|im_start|>assistant\n<think>\n"
DIRECT = "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
SWITCHED = "{{ messages[0].content }}<|im_start|>assistant\n" + DIRECT
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b", None]}, "maxItems": 3},
        "at": {"$ref": "#/$defs/place"},
    },
    "required": ["name", "age", "at"],
    "additionalProperties": False,
    "$defs": {"place": {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^[A-Z]{2}[0-9]{1,3}$"}]}},
}
LONG = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 60, "maxItems": 80}
QUESTIONS = ["What is 12 + 7?", "What is the weather in Prague?", "Count from 3 to 9."]
WILD = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
STYLES = [{"temperature": 0.0}, *({**WILD, "seed": seed} for seed in range(5))]


def holds(content: str, **asked) -> bool:
    """Whether a content is what was asked for, as other programs see it."""
    (name, value), *_ = asked.items()
    if name == "json_schema":
        jsonschema.Draft202012Validator(value).validate(json.loads(content))
        return True
    return content in value if name == "one_of" else re.fullmatch(value, content) is not None


ASKED = [
    {"json_schema": PERSON},
    {"json_schema": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 4}},
    {"regex": r"[a-c]{2,5}(-[0-9]{2}){1,3}"},
    {"one_of": ["yes", "yesterday", "nо", "你好", "Ça, e\u0301 \u212b", '"\\x']},
]


@pytest.fixture(scope="module", params=["int4", "int8"])
def model(request, tiny_q3e):
    with qwen3edge.load(tiny_q3e(request.param), context=512, threads=1, sequences=4, seed=1, grammars=True) as loaded:
        yield loaded


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: next(iter(asked)))
@pytest.mark.parametrize("thinking", [False, True])
def test_every_answer_matches(model, asked, thinking):
    ends = []
    for style in STYLES:
        answers = model.generate_batch(
            QUESTIONS, thinking=thinking, thinking_budget=9, max_tokens=200, **style, **asked
        )
        for answer in answers:
            content = answer.read()
            ends.append(answer.finish_reason)
            assert answer.finish_reason == "length" or holds(content, **asked), content
            assert answer.usage.reasoning_tokens <= 9
    assert ends.count("stop") > 0.9 * len(ends)


def test_the_same_alone_in_a_batch_and_computed_again(tiny_q3e):
    """C23. Where memory is short some go back to the queue: their grammars must not read a token twice."""
    path = tiny_q3e("int8")
    settings = {"context": 512, "threads": 1, "sequences": 4, "chunk": 64}
    options = {"json_schema": LONG, "thinking": True, "thinking_budget": 30, **WILD}
    requests = [*QUESTIONS, QUESTIONS[0]]
    with qwen3edge.load(path, **settings) as model:
        alone = [model.generate(question, **options, seed=3) for question in requests]
        for answer in alone:
            assert holds(answer.read(), json_schema=LONG) and len(answer.tokens) > 64
    for pages in (None, 9):
        memory = None if pages is None else budget_for(path, pages, **settings)
        with qwen3edge.load(path, memory=memory, **settings) as model:
            # The vocabulary is so small that the tight budget has room for its grammars only by the test's word.
            model._defaults.grammars._plan = None
            together = model.generate_batch(requests, **options, seed=3)
            assert [answer.read() for answer in together] == [answer.content for answer in alone]
            assert [answer.tokens for answer in together] == [answer.tokens for answer in alone]
            assert pages is None or model.engine.scheduler.counts["preemptions"] > 0


def ask(script: list[int], template: str = SWITCHED, **options) -> Answer:
    """The model would say the script; the mask stands above it."""
    return make_session(FakeCore(script), template).generate(HI, temperature=0, **options)


@pytest.mark.parametrize("opened", [True, False], ids=["opened by the prompt", "opened by the model"])
def test_thoughts_are_free_and_the_answer_is_not(opened):
    """C21: from `</think>` on, not from the first token. Line breaks behind it are nobody's."""
    script = [*([] if opened else [OPEN]), *ids("So, {1}"), CLOSE, *ids("\n\n"), *ids('{"x": 1}'), END]
    answer = ask(script, OPENED if opened else SWITCHED, json_schema={"type": "object"})
    assert (answer.read(), answer.reasoning, answer.finish_reason) == ('{"x": 1}', "So, {1}", "stop")
    assert answer.tokens == script


def test_armed_at_once_without_thoughts():
    """C22: with thinking off, or by a model that does not think, nothing but the grammar."""
    for options in ({"thinking": False}, {"thinking": None}):
        answer = ask([*ids("Sure! "), *ids("yes"), END, END], one_of=["yes", "no"], **options)
        assert answer.read() in ("yes", "no") and answer.finish_reason == "stop"
    assert OPEN not in answer.tokens


def test_the_budget_arms_it_too():
    answer = ask([*ids("hmmmm"), *ids("yes"), END], OPENED, thinking_budget=5, one_of=["yes", "no"])
    assert (answer.read(), answer.reasoning) == ("yes", "hmmmm")
    zero = ask([*ids("yes"), END], OPENED, thinking_budget=0, one_of=["yes", "no"])
    assert (zero.read(), zero.tokens) == ("yes", [CLOSE, *ids("yes"), END])


def test_thoughts_end_in_an_answer():
    """C25: a model that ends within its thoughts would have said nothing, which matches nothing."""
    answer = ask([*ids("ab"), END, CLOSE, *ids("no"), END], OPENED, one_of=["yes", "no"], max_tokens=9)
    answer.read()
    assert END not in answer.tokens[:-1] and answer.tokens[:2] == ids("ab")


def test_no_brace_is_read_twice():
    """C23: each token reaches the matcher once, whatever stands before it."""
    answer = ask([OPEN, CLOSE, *ids('{"a":{"a":{}}}'), END], json_schema={"type": "object"})
    assert json.loads(answer.read()) == {"a": {"a": {}}}


def test_blanks_are_bounded():
    """C24: a model that likes blanks comes to an end all the same."""
    numbers = {"type": "array", "items": {"type": "integer"}}
    said = ask([*ids("[" + " " * 300)], json_schema=numbers, thinking=False, max_tokens=200).read()
    assert said.count(" ") > 10 and "  " not in said
    pretty = '{\n    "a": [\n        1,\n        2\n    ]\n}'
    assert ask([*ids(pretty), END], json_schema={"type": "object"}, thinking=False).read() == pretty


@pytest.mark.parametrize(
    "schema, named",
    [
        ({"uniqueItems": True}, "uniqueItems"),
        ({"not": {"type": "string"}}, "not"),
        ({"type": "array", "contains": {"type": "null"}}, "contains"),
        ({"if": {"type": "string"}, "then": {"minLength": 3}}, '"if", "then"'),
        ({"oneOf": [{"type": "string"}, {"minLength": 3}]}, "oneOf"),
        ({"type": "string", "format": "bogus"}, "bogus"),
        ({"$ref": "https://example.com/x"}, "https://example.com/x"),
        ({"uniqueItems": True, "x-guidance": {"lenient": True}}, "uniqueItems"),
        ({"enum": []}, "Unsatisfiable"),
        ({"anyOf": [{"$ref": "#/$defs/a", "$id": "https://example.com/b"}]}, "$id beside a $ref"),
        ({"type": "integer", "multipleOf": 999983}, "multipleOf of at most 10000"),
        ({"type": "number", "multipleOf": -9.99983}, "multipleOf of at most 10000"),
        ({"type": "number", "multipleOf": 1e300}, "found 1e+300 that makes it an integer of 997 bits"),
        ({"items": {"allOf": [{"multipleOf": 997}, {"multipleOf": 991}]}}, "found 991 that makes it 988027"),
        ({"type": "integer", "multipleOf": True}, "Expected f64 for 'multipleOf'"),
    ],
)
def test_what_cannot_be_held_to_is_refused_by_name(schema, named):
    """C25: before anything is computed, in a dict and in JSON text alike."""
    for given in (schema, json.dumps(schema)):
        with pytest.raises(RequestError, match=f"json_schema: .*{re.escape(named)}"):
            ask([], json_schema=given)


@pytest.mark.parametrize(
    "multiple, text", [(10_000, "-20000"), (5.0, "15"), (0.01, "0.37"), (99.73, "199.46"), (1e-9, "0.000000007")]
)
def test_a_multiple_that_is_not_too_large_is_held_to(multiple, text):
    schema = {"type": "number", "multipleOf": multiple}
    assert ask([*ids(text), END], json_schema=schema, thinking=False).read() == text


@pytest.mark.parametrize(
    "options, named",
    [
        ({"regex": "a(?=b)"}, "look-around"),
        ({"regex": "a("}, "regex: .*unclosed group"),
        ({"regex": 3}, "expected regex as a str"),
        ({"regex": "a\ud800"}, "surrogate"),
        ({"grammar": "start: b"}, "grammar: .*unknown name"),
        ({"grammar": 'root ::= "a'}, "grammar: "),
        ({"json_schema": "{"}, "no JSON"),
        ({"json_schema": False}, "found False"),
        ({"json_schema": 3}, "json_schema: expected a JSON schema as a dict"),
        ({"json_schema": {"minimum": float("nan")}}, "no JSON"),
        ({"json_schema": {"const": object()}}, "no JSON"),
        ({"one_of": []}, "found none"),
        ({"one_of": ["a", ""]}, "found ''"),
        ({"one_of": "abc"}, "one_of"),
        ({"one_of": [1]}, "the texts of one_of"),
        ({"one_of": ["a" * (MAX_CHARACTERS + 1)]}, "one_of: expected at most"),
        ({"one_of": ["a"], "regex": "a"}, "found regex and one_of"),
        ({"one_of": ["a"], "mask": lambda tokens: None}, "one_of: expected no mask"),
        ({"one_of": ["a"], "ignore_eos": True}, "one_of: expected no ignore_eos"),
        ({"one_of": ["a"], "min_tokens": 3}, "one_of: expected no min_tokens"),
    ],
)
def test_what_is_refused(options, named):
    with pytest.raises(RequestError, match=named):
        ask([], **options)


def test_grammars_in_both_syntaxes():
    for grammar in ('start: "a" /[0-9]+/ ";"', 'root ::= "a" [0-9]+ ";"'):
        answer = ask([*ids("ba12;;"), END], grammar=grammar, thinking=False)
        assert re.fullmatch("a[0-9]+;", answer.read())


def test_texts_of_all_kinds():
    """A decomposed letter is not composed, a word of 60,000 characters is not refused, nor are 4,000 texts."""
    for text in ("e\u0301 \u212b", "x" * 60_000, 'a"b\\c/d\n[e]^$'):
        answer = ask([], one_of=[text], thinking=False, max_tokens=24)
        assert text.startswith(answer.read()) and answer.content
    many = [f"text {number}" for number in range(4000)]
    assert ask([*ids("text 3999"), END], one_of=many, thinking=False).read() == "text 3999"


def test_every_end_of_the_model_ends_it(model):
    """Whichever it prefers: two tokens end Qwen3's answers."""
    ends = sorted(model.config.stop_token_ids)
    assert len(ends) == 2
    for end in ends:
        answer = model.generate("hi", one_of=["yes"], thinking=False, logit_bias={end: 100.0})
        assert answer.read() == "yes" and answer.tokens[-1] == end


def test_marks_are_no_text():
    """A token such as `<think>` in a string would be taken for what it is, and the JSON would have a hole."""
    script = [*ids('"'), OPEN, *ids('"'), END]
    answer = ask(script, json_schema={"type": "string"}, thinking=False, max_tokens=20)
    answer.read()
    assert OPEN not in answer.tokens and CLOSE not in answer.tokens


def test_a_grammar_that_needs_too_much_ends_the_answer(model, monkeypatch):
    monkeypatch.setattr(vocabulary, "MAX_STATES", 200)
    monkeypatch.setattr(model._defaults.grammars, "_vocabulary", None)
    answer = model.generate("hi", regex="(.*a.{60}){6}", thinking=False, **WILD, seed=1, max_tokens=450)
    with pytest.raises(GrammarError, match="too many states"):
        answer.read()
    assert answer.finish_reason == "error"
    assert model.generate("hi", one_of=["yes"], thinking=False).read() == "yes", "others go on"


def test_a_session_goes_on(model):
    with model.session() as session:
        first = session.generate(QUESTIONS[0], thinking=False, one_of=["left", "right"]).read()
        said = [{"role": "user", "content": QUESTIONS[0]}, {"role": "assistant", "content": first}]
        again = session.generate([*said, {"role": "user", "content": "Again?"}], thinking=False, regex="[0-9]{3}")
        assert re.fullmatch("[0-9]{3}", again.read()) and again.usage.cached_tokens > 0


def test_memory_is_asked_for_first(tiny_q3e):
    path = tiny_q3e("int8")
    peak = qwen3edge.plan(path, context=256, threads=1).peak
    planned = qwen3edge.plan(path, context=256, threads=1, grammars=True)
    assert planned.peak - peak > 6 << 20 and "for texts and grammars" in planned.table()
    tight, silent = {"memory": peak + (4 << 20)}, {"texts": False}
    for settings, error, named in (tight, MemoryBudgetError, "grammars=True"), (silent, RequestError, "texts=False"):
        with qwen3edge.load(path, context=256, threads=1, **settings) as model, pytest.raises(error, match=named):
            model.generate([1, 2], one_of=["a"])
    with pytest.raises(RequestError, match="grammars: expected texts=True"):
        qwen3edge.plan(path, texts=False, grammars=True)


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    for name in ("vocabulary", "follower"):
        monkeypatch.delitem(sys.modules, f"qwen3edge.grammar.{name}")
        monkeypatch.delattr(f"qwen3edge.grammar.{name}")
    with pytest.raises(MissingExtraError, match=r"needs: pip install 'qwen3edge\[grammar\]' \(found no llguidance\)"):
        ask([], one_of=["a"])
    assert ask([*ids("yes"), END], thinking=False).read() == "yes"


def test_a_model_without_ends():
    with pytest.raises(UnsupportedModelError, match="expected a token that ends answers"):
        vocabulary.Vocabulary(make_session(FakeCore([]))._prompt_builder.tokenizer, [])
