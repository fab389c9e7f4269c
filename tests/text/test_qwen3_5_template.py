"""The chat templates of Qwen3.5, 3.6 and 3.8 in our hands and in transformers'; and calls through them and back."""

from pathlib import Path

import jinja2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from qwen3edge.convert.sampling import starting_mode
from qwen3edge.errors import RequestError, TemplateError
from qwen3edge.templates.problems import template_problem
from qwen3edge.templates.thoughts import closes_thoughts
from qwen3edge.text.prompt import PromptBuilder
from qwen3edge.text.template import ChatTemplate
from qwen3edge.text.tools import declared_types
from tests import text_files
from tests.text.answers import answer

FOLDER = Path(__file__).parents[1] / "data" / "templates"
SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.jinja"))}
TEMPLATES = {name: ChatTemplate(source) for name, source in SOURCES.items()}  # each is compiled once
ALL = pytest.mark.parametrize("name", SOURCES)

HI = {"role": "user", "content": " hi\n"}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Das Wetter – <heute> & morgen",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def call(**arguments: object) -> dict:
    return {"type": "function", "function": {"name": "weather", "arguments": arguments}}


VALUES = call(city="Köln\n<b> & \"x\" 'y'", days=3, share=0.5, big=1e300, now=True, later=False, none=None, empty="",
              places=["a", {"b": [1, None, "ü"]}], options={"unit": "°C", "deep": {"x": True}})  # fmt: skip
THOUGHT = {"role": "assistant", "content": "Hello.", "reasoning_content": "\nhm\n"}
CONVERSATIONS = {
    "one": [HI],
    "system": [{"role": "system", "content": " Be kind.\n"}, HI],
    "empty system": [{"role": "system", "content": ""}, HI],
    "turns": [HI, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "bye /no_think"}],
    "thoughts in the text": [HI, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello."}, HI],
    "thoughts at the end": [HI, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello."}],
    "thoughts of before": [HI, THOUGHT, HI],
    "own thoughts": [HI, THOUGHT],
    "no thoughts": [HI, {"role": "assistant", "content": "Hello.", "reasoning_content": ""}],
    "calls": [HI, {**THOUGHT, "tool_calls": [VALUES, call(), call(city="x")]}],
    "only calls": [HI, {"role": "assistant", "content": "", "tool_calls": [call(city="x")]}],
    "results": [
        {"role": "system", "content": "Be kind."}, HI, {**THOUGHT, "tool_calls": [VALUES, VALUES]},
        {"role": "tool", "content": " rain "}, {"role": "tool", "content": '{"sun": true}'}, THOUGHT, HI,
    ],
    "a loop": [
        HI, {**THOUGHT, "tool_calls": [VALUES]}, {"role": "tool", "content": "rain"},
        {**THOUGHT, "content": "", "tool_calls": [call(city="y")]}, {"role": "tool", "content": ""},
    ],
    "results as a user's": [HI, THOUGHT, {"role": "user", "content": "<tool_response>\nrain\n</tool_response>"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def theirs() -> AutoTokenizer:
    return AutoTokenizer.from_pretrained(text_files.TINY)


@ALL
@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_same_prompt_as_transformers(theirs, name, messages):
    ours = TEMPLATES[name]
    for tools in (None, [TOOL], [TOOL, {**TOOL, "strict": True}]):
        for settings_ in ({}, {"enable_thinking": True}, {"enable_thinking": False}):
            for generate in (True, False):
                expected = theirs.apply_chat_template(
                    messages, tools=tools, chat_template=SOURCES[name], add_generation_prompt=generate, tokenize=False,
                    **settings_,
                )  # fmt: skip
                found = ours.render(messages, tools=tools, thinking=settings_.get("enable_thinking"), generate=generate)
                assert found == expected


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("qwen3_6", {"preserve_thinking": True}),
        ("qwen3_8", {"preserve_thinking": False}),
        ("qwen3_8", {"reasoning_effort": "low"}),
        ("qwen3_8", {"reasoning_effort": "medium"}),
    ],
)
def test_variables_of_the_template(theirs, name, variables):
    messages, ours = CONVERSATIONS["results"], TEMPLATES[name]
    expected = theirs.apply_chat_template(messages, chat_template=SOURCES[name], tokenize=False, **variables)
    assert ours.render(messages, variables=variables, generate=False) == expected
    assert ours.render(messages, generate=False) != expected


TEXTS = st.text(st.sampled_from("a é\n<>/\"'&中"), max_size=8) | st.sampled_from(
    ["<think>\nx\n</think>\n\ny", "</think>", "<tool_response>", "</tool_response>", "<tool_response>x</tool_response>"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
CALLS = st.lists(
    st.builds(
        lambda name, arguments: {"type": "function", "function": {"name": name, "arguments": arguments}},
        st.sampled_from(["f", "get_x"]),
        st.dictionaries(st.text("abc_", min_size=1, max_size=3), JSON, max_size=3),
    ),
    max_size=2,
)
MESSAGES = st.lists(
    st.one_of(
        st.fixed_dictionaries({"role": st.sampled_from(["user", "user", "tool", "system"]), "content": TEXTS}),
        st.fixed_dictionaries(
            {"role": st.just("assistant"), "content": TEXTS},
            optional={"reasoning_content": TEXTS, "tool_calls": CALLS},
        ),
    ),
    min_size=1,
    max_size=6,
)


@ALL
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=MESSAGES, thinking=st.sampled_from([None, True, False]), tools=st.sampled_from([None, [TOOL]]))
def test_any_conversation(theirs, name, messages, thinking, tools):
    """The same prompt, or both refuse."""
    ours = TEMPLATES[name]
    given_ = {} if thinking is None else {"enable_thinking": thinking}
    try:
        expected = theirs.apply_chat_template(
            messages, tools=tools, chat_template=SOURCES[name], add_generation_prompt=True, tokenize=False, **given_
        )
    except jinja2.TemplateError:
        with pytest.raises(TemplateError):
            ours.render(messages, tools=tools, thinking=thinking)
        return
    assert ours.render(messages, tools=tools, thinking=thinking) == expected


@ALL
@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([HI, {"role": "system", "content": "x"}], "System message must be at the beginning"),
        ([{"role": "system", "content": "x"}] * 2 + [HI], "System message must be at the beginning"),
        ([{"role": "developer", "content": "x"}, {"role": "system", "content": "x"}, HI], "must be at the beginning"),
        ([{"role": "system", "content": "x"}], "No user query"),
        ([{"role": "assistant", "content": "x"}], "No user query"),
        ([{"role": "user", "content": "<tool_response></tool_response>"}], "No user query"),
    ],
)
def test_refused_by_the_template(name, messages, reason):
    with pytest.raises(TemplateError, match=f"refuses the messages: .*{reason}"):
        TEMPLATES[name].render(messages)


@ALL
@pytest.mark.parametrize(
    "part",
    [
        {"type": "image"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
        {"image": "x.png"},
        {"type": "video", "video": "x.mp4"},
    ],
)
@pytest.mark.parametrize("role", ["user", "system", "tool"])
def test_pictures_are_refused(name, part, role):
    messages = [HI, {"role": role, "content": [{"type": "text", "text": "See:"}, part]}]
    with pytest.raises(RequestError, match=r"messages\[1\]\.content\[1\] as a part of type 'text', found"):
        TEMPLATES[name].render(messages)


@ALL
def test_the_developer_speaks_as_the_system(name):
    ours = TEMPLATES[name]
    assert ours.render([{"role": "developer", "content": "d"}, HI]) == ours.render(
        [{"role": "system", "content": "d"}, HI]
    )


@ALL
def test_what_is_known_of_it(name):
    """It switches thinking, shows calls in XML, uses nothing that is unknown here; small models close the thoughts."""
    ours = TEMPLATES[name]
    assert ours.switches_thinking and ours.calls_in_xml
    assert template_problem(SOURCES[name]) is None
    assert closes_thoughts(SOURCES[name]) == (name == "qwen3_5_nothink")
    assert starting_mode(SOURCES[name], "qwen3") == ("direct" if name == "qwen3_5_nothink" else "thinking")


@pytest.mark.parametrize(
    "source", ["", "{{ x.y }}", "{% if %}", "{{ messages[0].content }}<think>", "{{ 1 / 0 }}</think>"]
)
def test_other_templates_close_no_thoughts(source):
    assert not closes_thoughts(source)


@ALL
@pytest.mark.parametrize("thinking", [None, True, False])
def test_prompts_know_their_thoughts(name, thinking):
    """Nobody but the prompt says where an answer begins; `/no_think` is a text like others."""
    tokenizer = text_files.tokenizer(text_files.TINY)
    builder = PromptBuilder(tokenizer, TEMPLATES[name])
    prompt = builder.prompt("hi /no_think", thinking=thinking)
    opened = name != "qwen3_5_nothink" if thinking is None else thinking
    assert (prompt.thinking, prompt.reasoning) == (opened, opened)
    end = "<think>\n" if opened else "<think>\n\n</think>\n\n"
    assert tokenizer.decode(prompt.tokens).endswith(f"hi /no_think<|im_end|>\n<|im_start|>assistant\n{end}")


KINDS = {
    "string": st.text(st.sampled_from("a é\n\t<>/\"'&中{}1"), max_size=12),
    "integer": st.integers(-(10**12), 10**12),
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
    "null": st.none(),
    "array": st.lists(JSON, max_size=3),
    "object": st.dictionaries(st.text("ab", min_size=1, max_size=3), JSON, max_size=3),
}


@pytest.mark.parametrize("name", ["qwen3_5_nothink", "qwen3_6"])  # which show values differently
@settings(max_examples=40)
@given(data=st.data(), kinds=st.lists(st.sampled_from([*KINDS]), max_size=4), way=st.sampled_from(["tokens", "text"]))
def test_calls_go_through_the_template_and_back(name, data, kinds, way):
    """What a model writes as its template shows it is read with the types of the schema."""
    parameters = {f"p{i}": {"type": kind} for i, kind in enumerate(kinds)}
    arguments = {f"p{i}": data.draw(KINDS[kind]) for i, kind in enumerate(kinds)}
    function = {"name": "f", "parameters": {"type": "object", "properties": parameters}}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "So.", "tool_calls": [{"name": "f", "arguments": arguments}] * 2},
    ]
    prompt = TEMPLATES[name].render(messages, generate=False)
    said = prompt.rpartition("</think>\n\n")[2].removesuffix("<|im_end|>\n")
    found = answer(way, said, tools=declared_types([{"type": "function", "function": function}]))
    assert found.content == "So."
    assert [(each.name, each.arguments) for each in found.read] == [("f", arguments)] * 2
