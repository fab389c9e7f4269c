"""OpenAI's own client, whose objects other clients inherit."""

import json
from typing import Literal

import pytest
from pydantic import BaseModel

from tests.generation.fakes import CLOSE, OPEN, ids
from tests.server.clients.conftest import call, text

openai = pytest.importorskip("openai")

WEATHER = {"name": "weather", "description": "Of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False,
}}  # fmt: skip
QUESTION = [{"role": "user", "content": "What is the weather in Prague?"}]
FOGGY = '{"sky": "foggy"}'
THOUGHTS = [OPEN, *ids("hm"), CLOSE]


class Sky(BaseModel):
    city: Literal["Prague", "Oslo"]
    degrees: int


@pytest.fixture(scope="module")
def tiny(tiny_url):
    with openai.OpenAI(base_url=tiny_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def scripted(told):
    with openai.OpenAI(base_url=told.url, api_key="any", max_retries=0) as client:
        yield client


def test_models(tiny):
    assert [model.id for model in tiny.models.list()] == ["int4", "tiny", "text-embedding-3-small"]
    assert tiny.models.retrieve("int4").owned_by == "qwen3edge"


def test_a_chat_and_its_stream(tiny):
    body = {"model": "int4", "messages": [{"role": "user", "content": "What is 12 + 7?"}], "temperature": 0}
    found = tiny.chat.completions.create(**body)
    assert found.choices[0].message.content.endswith("19") and found.choices[0].message.reasoning_content
    with tiny.chat.completions.stream(**body, stream_options={"include_usage": True}) as stream:
        kinds = [event.type for event in stream]
        last = stream.get_final_completion()
    assert last.choices[0].message.content == found.choices[0].message.content
    assert last.usage.completion_tokens == found.usage.completion_tokens
    assert {"chunk", "content.delta", "content.done"} <= set(kinds)


def test_logprobs_and_several_answers(tiny):
    found = tiny.chat.completions.create(
        model="int4", messages=QUESTION, n=2, seed=1, temperature=2, max_tokens=5, logprobs=True, top_logprobs=3
    )
    assert len(found.choices) == 2
    assert all(len(token.top_logprobs) == 3 for choice in found.choices for token in choice.logprobs.content)


def test_a_tool_of_a_chat(scripted, told):
    """Its call in a stream, its result, an answer."""
    told.will_say([*THOUGHTS, *call("weather", '{"city": "Prague"}')], text("It is foggy."))
    tools = [{"type": "function", "function": WEATHER}]
    with scripted.chat.completions.stream(model="scripted", messages=QUESTION, tools=tools) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls[0].function.arguments == '{"city": "Prague"}' and message.reasoning_content == "hm"
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": FOGGY}
    messages = [*QUESTION, message.model_dump(exclude_none=True), result]
    found = scripted.chat.completions.create(model="scripted", messages=messages, tools=tools)
    assert found.choices[0].message.content == "It is foggy."


def test_a_schema_of_a_chat(tiny):
    """Whatever the tiny model would say: the class demands the form."""
    found = tiny.chat.completions.parse(
        model="int4", messages=QUESTION, response_format=Sky, max_tokens=400, temperature=0, reasoning_effort="none"
    )
    assert found.choices[0].message.parsed.city in ("Prague", "Oslo")


def test_a_response_and_its_stream(tiny):
    body = {"model": "int4", "input": "What is 12 + 7?", "temperature": 0, "instructions": "Be brief."}
    found = tiny.responses.create(**body)
    with tiny.responses.stream(**body) as stream:
        events = list(stream)
        last = stream.get_final_response()
    assert last.output_text == found.output_text and found.status == "completed"
    assert [item.type for item in last.output] == ["reasoning", "message"]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == found.output_text
    assert last.usage.output_tokens_details.reasoning_tokens > 0


def test_a_tool_of_a_response(scripted, told):
    told.will_say([*THOUGHTS, *call("weather", '{"city": "Prague"}')], text("It is foggy."))
    tools = [{"type": "function", **WEATHER, "strict": True}, {"type": "web_search"}]
    with scripted.responses.stream(model="scripted", input=QUESTION, tools=tools) as stream:
        found = stream.get_final_response()
    thoughts, asked = found.output
    assert (thoughts.content[0].text, json.loads(asked.arguments)) == ("hm", {"city": "Prague"})
    items = [*QUESTION, thoughts.model_dump(), asked.model_dump(exclude={"parsed_arguments"})]
    items.append({"type": "function_call_output", "call_id": asked.call_id, "output": FOGGY})
    assert scripted.responses.create(model="scripted", input=items, tools=tools).output_text == "It is foggy."


def test_a_schema_of_a_response(tiny):
    found = tiny.responses.parse(
        model="int4", input="hi", text_format=Sky, temperature=0, max_output_tokens=400, reasoning={"effort": "none"}
    )
    assert found.output_parsed.city in ("Prague", "Oslo")


def test_embeddings(tiny):
    """The client asks for base64 unless it is told."""
    packed = tiny.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=8)
    plain = tiny.embeddings.create(model="int4", input=["a", "b"], dimensions=8, encoding_format="float")
    assert [each.embedding for each in packed.data] == [pytest.approx(each.embedding) for each in plain.data]
    assert len(packed.data[0].embedding) == 8 and packed.usage.total_tokens == 4


def test_completions(tiny):
    body = {"model": "int4", "prompt": "One, two,", "max_tokens": 5, "temperature": 0, "logprobs": 2}
    found = tiny.completions.create(**body, echo=True).choices[0]
    streamed = tiny.completions.create(**body, stream=True)
    assert found.text == "One, two," + "".join([chunk.choices[0].text for chunk in streamed])
    assert len(found.logprobs.tokens) == len(found.logprobs.text_offset)


def test_errors(tiny, told):
    with pytest.raises(openai.NotFoundError) as missing:
        tiny.chat.completions.create(model="gpt-none", messages=QUESTION)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as refused:
        tiny.responses.create(model="int4", input="hi", previous_response_id="resp_1")
    assert refused.value.param == "previous_response_id"
    with pytest.raises(openai.BadRequestError) as long:
        tiny.chat.completions.create(model="int4", messages=[{"role": "user", "content": "word " * 3000}])
    assert long.value.code == "context_length_exceeded"


def test_a_stream_that_its_reader_leaves(tiny):
    stream = tiny.chat.completions.create(model="int4", messages=QUESTION, stream=True)
    next(iter(stream))
    stream.close()
    assert tiny.chat.completions.create(model="int4", messages=QUESTION, max_tokens=1).choices
