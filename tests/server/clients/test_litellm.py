"""litellm: chats, tools, responses, embeddings, completions."""

import pytest

from tests.server.clients.conftest import call, text

litellm = pytest.importorskip("litellm")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")]

QUESTION = [{"role": "user", "content": "What is the weather in Prague?"}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def test_a_chat_and_its_stream(tiny_url):
    body = {"model": "openai/int4", "api_base": tiny_url, "api_key": "any", "messages": QUESTION, "temperature": 0}
    found = litellm.completion(**body)
    assert found.choices[0].message.reasoning_content
    chunks = list(litellm.completion(**body, stream=True, stream_options={"include_usage": True}))
    joined = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert joined == found.choices[0].message.content
    usages = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
    assert usages[-1].completion_tokens == found.usage.completion_tokens


def test_a_tool(told):
    told.will_say(call("weather", '{"city": "Prague"}'), text("It is foggy."))
    body = {"model": "openai/scripted", "api_base": told.url, "api_key": "any", "tools": TOOLS}
    chunks = list(litellm.completion(**body, messages=QUESTION, stream=True))
    message = litellm.stream_chunk_builder(chunks, messages=QUESTION).choices[0].message
    (found,) = message.tool_calls
    assert (found.function.name, found.function.arguments) == ("weather", '{"city": "Prague"}')
    result = {"role": "tool", "tool_call_id": found.id, "content": "foggy"}
    again = litellm.completion(**body, messages=[*QUESTION, message.model_dump(), result])
    assert again.choices[0].message.content == "It is foggy."


def test_the_other_endpoints(tiny_url):
    to = {"model": "openai/int4", "api_base": tiny_url, "api_key": "any"}
    found = litellm.responses(**to, input="What is 12 + 7?", temperature=0)
    assert found.status == "completed" and found.output[-1].content[0].text
    embedded = litellm.embedding(**to, input=["a", "b"], encoding_format="float")
    assert [len(each["embedding"]) for each in embedded.data] == [256, 256]
    completed = litellm.text_completion(
        model="text-completion-openai/int4", api_base=tiny_url, api_key="any", prompt="One, two,", max_tokens=4
    )
    assert completed.choices[0].text and completed.usage.completion_tokens == 4
