"""langchain-openai: chats, tools, schemas, responses, embeddings."""

import pytest

from tests.generation.fakes import CLOSE, OPEN, ids
from tests.server.clients.conftest import call, text

langchain_openai = pytest.importorskip("langchain_openai")
pytestmark = pytest.mark.slow


def chat(url, **settings):
    return langchain_openai.ChatOpenAI(base_url=url, api_key="any", model="scripted", max_retries=0, **settings)


def weather(city: str) -> str:
    """The weather of a city."""
    return f"foggy in {city}"


SCHEMA = {"title": "sum", "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
          "additionalProperties": False}  # fmt: skip


def test_a_chat_and_its_stream(told):
    told.will_say([OPEN, *ids("hm"), CLOSE, *text("nineteen")], text("nineteen"))
    model = chat(told.url)
    assert model.invoke("What is 12 + 7?").content == "nineteen"
    pieces = list(model.stream("What is 12 + 7?", stream_usage=True))
    assert "".join(piece.content for piece in pieces) == "nineteen"
    assert sum(piece.usage_metadata["output_tokens"] for piece in pieces if piece.usage_metadata) == 9


@pytest.mark.parametrize("responses", [False, True], ids=["chats", "responses"])
def test_a_tool_and_its_result(told, responses):
    from langchain_core.messages import HumanMessage, ToolMessage  # noqa: PLC0415

    told.will_say(call("weather", '{"city": "Prague"}'), text("It is foggy."))
    model = chat(told.url, use_responses_api=responses).bind_tools([weather])
    messages = [HumanMessage("What is the weather in Prague?")]
    asked = model.invoke(messages)
    (found,) = asked.tool_calls
    assert (found["name"], found["args"]) == ("weather", {"city": "Prague"})
    messages += [asked, ToolMessage(weather(**found["args"]), tool_call_id=found["id"])]
    assert model.invoke(messages).text == "It is foggy."


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_a_schema(told, method):
    said = call("sum", '{"a": 19}') if method == "function_calling" else text('{"a": 19}')
    told.will_say(said)
    model = chat(told.url).with_structured_output(SCHEMA, method=method)
    assert model.invoke("What is 12 + 7? In JSON.") == {"a": 19}


def test_embeddings_and_completions(tiny_url):
    found = langchain_openai.OpenAIEmbeddings(
        base_url=tiny_url, api_key="any", model="int4", check_embedding_ctx_length=False, dimensions=8
    ).embed_documents(["a", "b"])
    assert [len(each) for each in found] == [8, 8]
    model = langchain_openai.OpenAI(base_url=tiny_url, api_key="any", model="int4", max_tokens=4, temperature=0)
    assert model.invoke("One, two,") == "".join(model.stream("One, two,"))
