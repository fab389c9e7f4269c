"""Whether an answer is tool calls, through the C API as through Python."""

import json
from ctypes import byref, c_size_t, create_string_buffer

import pytest

from qwen3edge.convert import convert
from tests.capi.asking import answered, heard, new_answer
from tests.capi.library import BAD_ARGUMENT, MASK, CallError, integers
from tests.reference.chats import read_records

ADD = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
TOOLS = [{"type": "function", "function": ADD}, {"type": "function", "function": {"name": "look up", "parameters": {}}}]
HI = [{"role": "user", "content": "hi"}]
GREEDY = {"sampling": {"temperature": 0}}


def named(name):
    return {"type": "function", "function": {"name": name}}


@pytest.fixture(scope="module")
def with_tools(both):
    """A held-out question with tools, one in a language, thinking and not."""
    found = {}
    for record in read_records(both.folder / "heldout.jsonl"):
        if "tools" in record:
            found.setdefault((record["language"], record["enable_thinking"]), record)
    return list(found.values())


@pytest.mark.parametrize("choice", ["auto", "none", "required", "by name"])
def test_as_python(api, both, with_tools, choice):
    """Greedy; the tiny model writes arguments of its own that fit the schema, which binds Python's."""
    assert with_tools
    for record in with_tools:
        tools = record["tools"]
        function = tools[0].get("function", tools[0])
        chosen = named(function["name"]) if choice == "by name" else choice
        messages = [record["messages"][0]] if record["messages"][0]["role"] == "user" else record["messages"][:2]
        options = {"tools": tools, "thinking": record["enable_thinking"], "tool_choice": chosen, "max_tokens": 120}
        answer = both.python.generate(messages, temperature=0, seed=0, **options)
        answer.read()
        found = answered(api, both.c, messages, seed=0, **options, **GREEDY)
        assert (found.tokens, found.content) == (answer.tokens, answer.content)
        calls = [call[:2] for call in found.calls if call[2] == "complete"]
        assert calls == [[each.name, each.arguments] for each in answer.tool_calls]
        if choice == "none":
            assert found.calls == [] and found.finish != "tool_calls"
        elif choice != "auto":
            assert found.finish == "tool_calls" and calls and found.content == ""


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("name", [None, "look up"])
def test_a_call_comes_where_none_would(api, both, seed, thinking, name):
    """Drawn at any temperature: its form is forced, its arguments are not, so that it may be broken or cut."""
    for number in range(6):
        found = answered(
            api, both.c, HI, tools=TOOLS, tool_choice=named(name) if name else "required", thinking=thinking,
            seed=seed + number, max_tokens=80, budget=(10, ""), sampling={"temperature": 1.5, "top_p": 1, "top_k": 0},
        )  # fmt: skip
        assert found.calls, found
        names = [call[0] for call in found.calls]
        assert set(names) <= ({name} if name else {"add", "look up"}) and (len(names) == 1 or not name)
        for call in found.calls:
            if call[2] == "complete":
                json.loads(call[1])


def test_as_xml(api, tmp_path_factory, tiny_hybrid_path, seed):
    """As the template shows them; the tiny Qwen3.5's does in XML."""
    path = tmp_path_factory.mktemp("xml") / "int4.q3e"
    convert(tiny_hybrid_path, path, "int4")
    model = api.load(path, context=512, threads=1)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    answer = new_answer(api, model, HI, tools=tools, tool_choice="required", thinking=False, seed=seed, max_tokens=30)
    _, found = heard(api, answer)
    text, length = create_string_buffer(1000), c_size_t()
    api.detokenize(model, integers(found.tokens), len(found.tokens), text, 1000, byref(length))
    assert text.value.decode().startswith("<tool_call>\n<function=f>\n")
    api.library.q3e_answer_free(answer)
    api.library.q3e_model_free(model)


def test_refused(api, both):
    for options, words in (
        ({"tool_choice": "required"}, "expected a tool that is a function"),
        ({"tool_choice": named("nobody"), "tools": TOOLS}, "expected one of the tools, found 'nobody'"),
        ({"tool_choice": "required", "tools": TOOLS, "verbatim": 1}, "neither a mask nor verbatim"),
        ({"tool_choice": "required", "tools": TOOLS, "mask": MASK(lambda *_: 0)}, "neither a mask nor verbatim"),
    ):
        with pytest.raises(CallError, match=words) as raised:
            answered(api, both.c, HI, **options)
        assert raised.value.status == BAD_ARGUMENT
    request = api.made("request")
    for choice, name in ((3, None), (-1, None), (0, b"add"), (1, b"add")):
        with pytest.raises(CallError, match="tool_choice: expected"):
            api.request_set_tool_choice(request, choice, name)
    api.library.q3e_request_free(request)
