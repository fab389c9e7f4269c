"""The table of parameters."""

import tracemalloc

import pytest

from qwen3edge.server.errors import BodyError
from qwen3edge.server.openai.chat_body import ChatBody
from qwen3edge.server.openai.completion_body import CompletionBody
from qwen3edge.server.parameters import checked, ignored, obeyed
from qwen3edge.server.tools import left_out, own_tools
from scripts.parameters import PAGE, written


def test_the_page_has_the_table():
    """To write it anew: python -m scripts.parameters."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == written(page) and "/v1/chat/completions" in page


def test_what_the_table_says():
    assert {"messages", "tools", "seed", "reasoning_effort"} <= set(obeyed(ChatBody))
    assert {"user", "metadata", "store"} <= set(ignored(ChatBody))
    assert not set(obeyed(ChatBody)) & set(ignored(ChatBody))


@pytest.mark.parametrize("body", [
    {"prompt": [1.5] * 100_000}, {"prompt": [[1.5]] * 50_000}, {"prompt": [{}] * 50_000},
    {"prompt": "a", "logit_bias": {str(token): "a" for token in range(50_000)}},
    {"prompt": "a", "stop": [1] * 100_000},
])  # fmt: skip
def test_a_million_errors_take_no_memory(body):
    tracemalloc.start()
    with pytest.raises(BodyError):
        checked(body, CompletionBody).request()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20, peak


def test_an_object_without_a_parameter_is_named_as_a_body_is():
    with pytest.raises(BodyError, match=r"expected no parameter 'stream_options\.foo'"):
        checked({"prompt": "a", "stream_options": {"foo": 1}}, CompletionBody)


def test_names_of_tools_in_a_header():
    header = left_out(["x\r\nSet-Cookie: a=b", " lead ", "\0", "ü", "web_search"])["x-tools-left-out"]
    assert header == "x?Set-Cookie:?a=b, ?lead?, ?, ?, web_search"
    assert len(left_out(["a" * 60] * 512)["x-tools-left-out"]) == 1000 and left_out([]) == {}


def test_tools_whose_type_is_null_are_functions():
    tool = {"type": None, "function": {"name": "a"}}
    assert own_tools([tool, {"type": "web_search"}]) == ([tool], ["web_search"])
