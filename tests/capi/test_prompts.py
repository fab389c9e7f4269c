"""Texts, tokens and prompts through the C API: the same as Python's."""

import json
import math
from ctypes import byref, c_char_p, c_int32, c_size_t, create_string_buffer

import pytest

import qwen3edge
from qwen3edge.convert import convert
from qwen3edge.errors import ContextError, RequestError, TemplateError
from tests.capi.asking import new_request, prompt_tokens
from tests.capi.library import BAD_ARGUMENT, TEMPLATE_ERROR, UNSUPPORTED_MODEL, CallError, integers
from tests.templates.corpus import Conversations

ROUNDS = 300
TEXTS = ["", "What is 12 + 7?", "Köln 日本語 😀 e\u0301", "<|im_end|> <think>\n\0x"]


def has_infinity(value):
    if isinstance(value, dict):
        return any(map(has_infinity, value.values()))
    if isinstance(value, list):
        return any(map(has_infinity, value))
    if isinstance(value, str):
        return "Infinity" in value  # in arguments that are a text
    return isinstance(value, float) and math.isinf(value)


def tokenized(api, model, text, special=0):
    data, count = text.encode("utf-8", "surrogatepass"), c_size_t()
    api.tokenize(model, data, len(data), special, None, 0, byref(count))
    tokens = (c_int32 * count.value)()
    api.tokenize(model, data, len(data), special, tokens, count.value, byref(count))
    return list(tokens)


@pytest.mark.parametrize("text", TEXTS)
def test_texts_there_and_back(api, both, text):
    for special in (False, True):
        tokens = tokenized(api, both.c, text, special)
        assert tokens == both.python.tokenizer.encode(text, allow_special=special)
        length = c_size_t()
        api.detokenize(both.c, integers(tokens), len(tokens), None, 0, byref(length))
        data = create_string_buffer(length.value + 1)
        api.detokenize(both.c, integers(tokens), len(tokens), data, length.value + 1, byref(length))
        assert data.raw == both.python.tokenizer.decode(tokens).encode() + b"\0"


def test_what_does_not_fit_is_counted(api, both):
    tokens, count = tokenized(api, both.c, "What is 12 + 7?"), c_size_t()
    part = (c_int32 * 3)(-1, -1, -1)
    api.tokenize(both.c, b"What is 12 + 7?", 15, 0, part, 2, byref(count))
    assert list(part) == [*tokens[:2], -1] and count.value == len(tokens)
    data = create_string_buffer(b"......", 6)
    api.detokenize(both.c, integers(tokens), len(tokens), data, 5, byref(count))
    assert data.raw == b"What\0." and count.value == 15


def test_tokens_that_are_none(api, both):
    for token in (-1, 2**31 - 1):
        with pytest.raises(CallError, match="tokens: expected") as raised:
            api.detokenize(both.c, integers([token]), 1, None, 0, byref(c_size_t()))
        assert raised.value.status == BAD_ARGUMENT


def expected_prompt(model, settings):
    """Python's tokens, or the name of what it raises."""
    try:
        return model.tokens_of(
            settings["messages"],
            tools=settings["tools"],
            thinking=settings["thinking"],
            template_variables=settings["variables"],
        )
    except (RequestError, TemplateError) as error:
        return type(error)


def test_same_prompts(api, both, seed):
    """Of conversations of all kinds, with tools, thoughts, names of tokens and variables; or both refuse."""
    conversations, compared, refused = Conversations(seed), 0, 0
    for _ in range(ROUNDS):
        settings = conversations.settings()
        if has_infinity(settings):  # which JSON does not have
            continue
        expected = expected_prompt(both.python, settings)
        if isinstance(expected, list) and len(expected) >= both.python.plan.context:
            expected = ContextError
        asked = {name: settings[name] for name in ("tools", "thinking", "variables")}
        if isinstance(expected, list):
            assert prompt_tokens(api, both.c, settings["messages"], **asked) == expected, settings
            compared += 1
            continue
        with pytest.raises(CallError) as raised:
            prompt_tokens(api, both.c, settings["messages"], **asked)
        status = TEMPLATE_ERROR if expected is TemplateError else BAD_ARGUMENT
        assert raised.value.status == status, (settings, raised.value)
        refused += 1
    assert compared > ROUNDS / 3, (compared, refused)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"role": "nobody", "content": "x"}, "messages[0].role to be one of"),
        ({"content": "x"}, "found None"),
        ({"role": "user"}, "messages[0].content as a string or a list of text parts, found none"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "content[0] as a part of type 'text'"),
        ({"role": "user", "content": "x", "name": 5}, "messages[0].name as a string, found int"),
        ({"role": "user", "content": "x", "tool_calls": [1]}, "tool_calls as a list in an assistant's message"),
        ({"role": "assistant", "tool_calls": [{"id": "x"}]}, "tool_calls[0] as an object with the function's name"),
        ({"role": "assistant", "tool_calls": [{"name": "f", "arguments": "[1]"}]}, "as a JSON object, found list"),
        ({"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{"}]}, ".arguments: expected JSON"),
        ("x", "messages[0] as an object with role and content, found str"),
    ],
)  # fmt: skip
def test_messages_of_a_wrong_form(api, both, message, words):
    with pytest.raises(CallError) as raised:
        prompt_tokens(api, both.c, [message])
    assert raised.value.status == BAD_ARGUMENT and words in raised.value.text
    with pytest.raises(RequestError):
        both.python.tokens_of([message])


def test_json_that_is_none(api, both):
    handle = api.made("request")
    for setter in ("add_messages", "set_tools", "set_variables"):
        for text in (b"", b"{", b"[1,]", b'{"a": 01}', b"NaN", b"[" * 200 + b"]" * 200, b'"\xff', b"1" * 400):
            with pytest.raises(CallError) as raised:
                getattr(api, f"request_{setter}")(handle, text)
            assert raised.value.status == BAD_ARGUMENT, text
    for setter in ("add_messages", "set_tools"):
        with pytest.raises(CallError, match="found another value"):
            getattr(api, f"request_{setter}")(handle, b"5")
    api.library.q3e_request_free(handle)


def test_numbers_and_texts_of_json_as_python_reads_them(api, both):
    """Through a template that prints a tool as JSON."""
    text = r"""[{"name": "f", "a": [0, -0, -0.0, 1e2, 1E-7, 12345678901234567890, 5e-324, 1e400, -1e400, 1e-400, 0.1],
        "b": "\u00e4\ud83d\ude00\ud800\n\"\\\/\u0000", "c": {"x": 1, "y": [], "x": {}}, "d": [true, false, null]}]"""
    handle = api.made("request")
    api.request_add_message(handle, b"user", b"hi")
    api.request_set_tools(handle, text.encode())
    count = c_size_t()
    tokens = (c_int32 * 1024)()
    api.request_tokens(both.c, handle, tokens, 1024, byref(count))
    api.library.q3e_request_free(handle)
    expected = both.python.tokens_of([{"role": "user", "content": "hi"}], tools=json.loads(text))
    assert tokens[: count.value] == expected


def test_texts_and_tokens_in_place_of_messages(api, both):
    text = "<|im_start|>user\nhi<|im_end|>\n"
    assert prompt_tokens(api, both.c, text) == both.python.tokens_of(text, raw=True)
    assert prompt_tokens(api, both.c, [1, 2, 3]) == [1, 2, 3]
    handle = new_request(api, [1, 2, 3])
    count = c_size_t()
    with pytest.raises(CallError, match="messages as a list of at least one"):
        api.request_set_tokens(handle, None, 0)
        api.request_tokens(both.c, handle, None, 0, byref(count))
    api.library.q3e_request_free(handle)


def test_prompts_that_are_too_long(api, both):
    for request in ("a " * 1100, [1] * 1024, [{"role": "user", "content": "a " * 1100}], "a " * 60000):
        with pytest.raises(CallError, match="context") as raised:
            prompt_tokens(api, both.c, request)
        assert raised.value.status == BAD_ARGUMENT


def test_ways_of_thinking_that_a_template_lacks(api, both):
    """As Python has them: the tiny model's template knows both."""
    messages = [{"role": "user", "content": "hi"}]
    prompts = {thinking: prompt_tokens(api, both.c, messages, thinking=thinking) for thinking in (None, False, True)}
    assert prompts == {thinking: both.python.tokens_of(messages, thinking=thinking) for thinking in prompts}
    assert prompts[False] != prompts[True]


@pytest.fixture(scope="module")
def without_tree(tmp_path_factory, tiny_model_path):
    """A model whose template the core does not run."""
    path = tmp_path_factory.mktemp("jinja2") / "model.q3e"
    template = "{% for m in messages %}{{ m.content | wordcount }}{% endfor %}"
    convert(tiny_model_path, path, "int4", chat_template=template)
    return path


def test_a_template_that_jinja2_alone_runs(api, without_tree):
    model = api.load(without_tree, context=64)
    with pytest.raises(CallError, match="convert the model again, or give tokens or a text") as raised:
        prompt_tokens(api, model, [{"role": "user", "content": "hi"}])
    assert raised.value.status == UNSUPPORTED_MODEL
    assert prompt_tokens(api, model, "hi") == tokenized(api, model, "hi")
    api.library.q3e_model_free(model)


def test_a_model_without_texts(api, tiny_int4):
    model = api.load(tiny_int4, context=64, texts=0)
    for call in (lambda: tokenized(api, model, "hi"), lambda: prompt_tokens(api, model, "hi")):
        with pytest.raises(CallError, match="q3e_settings_set_texts") as raised:
            call()
        assert raised.value.status == UNSUPPORTED_MODEL
    assert prompt_tokens(api, model, [5, 6]) == [5, 6]
    api.library.q3e_model_free(model)


def test_null_pointers(library):
    """Each is refused, and freeing one does nothing."""
    assert library.q3e_request_new(None) == library.q3e_settings_new(None) == BAD_ARGUMENT
    assert library.q3e_tokenize(None, c_char_p(b""), 0, 0, None, 0, None) == BAD_ARGUMENT
    assert library.q3e_request_add_message(None, b"user", b"") == BAD_ARGUMENT
    assert library.q3e_answer_new(None, None, None) == library.q3e_answer_run(None, None, None) == BAD_ARGUMENT
    for kind in ("settings", "sampling", "request", "answer", "session", "model"):
        getattr(library, f"q3e_{kind}_free")(None)
    library.q3e_answer_cancel(None)


def test_version(library):
    assert library.q3e_version().decode() == qwen3edge.__version__ and library.q3e_abi() == 1
