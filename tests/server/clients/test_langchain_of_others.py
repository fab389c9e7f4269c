"""LangChain's clients of both APIs."""

import pytest

from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, ids

pytestmark = pytest.mark.slow
SUM = [CALL, *ids('{"name": "add", "arguments": {"a": 12, "b": 7}}'), CALLED]
ASK = "What is 12 + 7?"


def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


def ollama_chat(url, model, **settings):
    """By /api/chat."""
    return pytest.importorskip("langchain_ollama").ChatOllama(base_url=url, model=model, **settings)


def anthropic_chat(url, model, **settings):
    """By /v1/messages."""
    chat = pytest.importorskip("langchain_anthropic").ChatAnthropic
    return chat(base_url=url, model=model, api_key="any", max_tokens=60, **settings)


@pytest.fixture(params=[ollama_chat, anthropic_chat])
def make(request):
    return request.param


def test_an_answer(make, url):
    chat = make(url, "tiny", temperature=0)
    whole = chat.invoke(ASK)
    assert whole.text and whole.usage_metadata["input_tokens"] > 0 and whole.usage_metadata["output_tokens"] > 0
    assert "".join(chunk.text for chunk in chat.stream(ASK)) == whole.text


def test_tools(make, told):
    """A loop: the call, its result, the answer."""
    messages = pytest.importorskip("langchain_core.messages")
    chat = make(told.root, "scripted").bind_tools([add])
    told.say([*SUM, END])
    found = chat.invoke(ASK)
    (call,) = found.tool_calls
    assert (call["name"], call["args"]) == ("add", {"a": 12, "b": 7})
    told.say([*ids("It is 19."), END])
    result = messages.ToolMessage(str(add(**call["args"])), tool_call_id=call["id"])
    assert chat.invoke([messages.HumanMessage(ASK), found, result]).text == "It is 19."


def test_thoughts(told):
    told.say([OPEN, *ids("hm"), CLOSE, *ids("yes"), END])
    found = ollama_chat(told.root, "scripted", reasoning=True).invoke(ASK)
    assert (found.text, found.additional_kwargs["reasoning_content"]) == ("yes", "hm")
    told.say([OPEN, *ids("hm"), CLOSE, *ids("yes"), END])
    chat = anthropic_chat(told.root, "scripted", thinking={"type": "enabled", "budget_tokens": 1024})
    assert [block["type"] for block in chat.invoke(ASK).content] == ["thinking", "text"]


def test_embeddings(url):
    found = pytest.importorskip("langchain_ollama").OllamaEmbeddings(base_url=url, model="tiny")
    assert len(found.embed_documents(["a cat", "a dog"])) == 2 and found.embed_query("a cat")
