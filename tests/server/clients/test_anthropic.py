"""Anthropic's own client."""

import json

import anthropic
import pytest

from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, ids

ASK = [{"role": "user", "content": "What is 12 + 7?"}]
GREEDY = {"extra_body": {"temperature": 0}}  # which the client has no name for any more
THINK = {"type": "enabled", "budget_tokens": 1024}
ADD = {
    "name": "add",
    "description": "the sum of two numbers",
    "input_schema": {
        "type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"],
        "additionalProperties": False,
    },
}  # fmt: skip
SUM = [CALL, *ids('{"name": "add", "arguments": {"a": 12, "b": 7}}'), CALLED]


@pytest.fixture(scope="module")
def client(url):
    with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as found:
        yield found


@pytest.fixture(scope="module")
def scripted(told):
    with anthropic.Anthropic(base_url=told.root, api_key="any", max_retries=0) as found:
        found.say = told.say
        yield found


def test_messages(client):
    found = client.messages.create(
        model="tiny", max_tokens=40, messages=ASK, system=[{"type": "text", "text": "Add.", "cache_control": {}}]
    )
    (block,) = found.content
    assert (found.role, found.model, block.type) == ("assistant", "tiny", "text") and block.text
    assert found.usage.input_tokens > 0 and found._request_id.startswith("req_")


def test_thinking_and_beta(client):
    """The beta client adds `?beta=true` and headers."""
    found = client.beta.messages.create(
        model="tiny",
        max_tokens=300,
        messages=ASK,
        thinking=THINK,
        **GREEDY,
        betas=["interleaved-thinking-2025-05-14"],
    )
    assert found.content[0].type == "thinking" and found.content[0].signature
    assert found.usage.output_tokens_details.thinking_tokens > 0


def test_count_tokens(client):
    asked = {"model": "tiny", "messages": ASK, "tools": [ADD], "thinking": THINK}
    counted = client.messages.count_tokens(**asked).input_tokens
    used = client.messages.create(**asked, max_tokens=1).usage
    assert counted == used.input_tokens + used.cache_read_input_tokens


def told(message):
    """(type, text) of each block."""
    return [(block.type, block.thinking if block.type == "thinking" else block.text) for block in message.content]


def test_a_stream(client):
    with client.messages.stream(
        model="tiny", max_tokens=300, messages=ASK, thinking={"type": "adaptive"}, **GREEDY
    ) as stream:
        kinds, texts = [], []
        for event in stream:
            kinds.append(event.type)
            texts += [event.text] if event.type == "text" else []
        final = stream.get_final_message()
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop" and "thinking" in kinds
    assert "".join(texts) == "".join(block.text for block in final.content if block.type == "text")
    whole = client.messages.create(model="tiny", max_tokens=300, messages=ASK, thinking={"type": "adaptive"}, **GREEDY)
    assert told(whole) == told(final) and whole.stop_reason == final.stop_reason
    assert whole.usage.output_tokens == final.usage.output_tokens


def test_a_tool_that_must_be_called(client):
    found = client.messages.create(
        model="tiny", max_tokens=200, messages=ASK, tools=[ADD], tool_choice={"type": "any"}, **GREEDY
    )
    calls = [block for block in found.content if block.type == "tool_use"]
    assert found.stop_reason == "tool_use" and sorted(calls[0].input) == ["a", "b"]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "19"} for call in calls]
    messages = [*ASK, {"role": "assistant", "content": found.content}, {"role": "user", "content": results}]
    again = client.messages.create(model="tiny", max_tokens=20, messages=messages, tools=[ADD])
    assert again.usage.cache_read_input_tokens > 0 and again.content


def test_a_loop_of_tools(scripted):
    """With thoughts, in a stream, and with what the client sends back of them."""
    scripted.say([OPEN, *ids("add"), CLOSE, *SUM, *SUM, END])
    with scripted.messages.stream(
        model="scripted", max_tokens=200, messages=ASK, tools=[ADD], thinking={"type": "adaptive"}
    ) as stream:
        found = stream.get_final_message()
    assert [block.type for block in found.content] == ["thinking", "tool_use", "tool_use"]
    assert found.content[0].thinking == "add" and found.content[1].input == {"a": 12, "b": 7}
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "19"} for call in found.content[1:]]
    messages = [*ASK, {"role": "assistant", "content": found.content}, {"role": "user", "content": results}]
    scripted.say([*ids("It is 19.STOP"), END])
    last = scripted.messages.create(
        model="scripted", max_tokens=99, messages=messages, tools=[ADD], stop_sequences=["STOP"]
    )
    assert (last.content[0].text, last.stop_reason, last.stop_sequence) == ("It is 19.", "stop_sequence", "STOP")


def test_a_schema(client):
    schema = {
        "type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"], "additionalProperties": False
    }  # fmt: skip
    found = client.messages.create(
        model="tiny", max_tokens=60, messages=ASK, output_config={"format": {"type": "json_schema", "schema": schema}}
    )
    assert found.stop_reason == "max_tokens" or list(json.loads(found.content[0].text)) == ["sum"]
    assert found.content[0].text.startswith("{")


def test_errors(client):
    with pytest.raises(anthropic.NotFoundError, match="expected one of the models that are served") as refused:
        client.messages.create(model="claude", max_tokens=1, messages=ASK)
    assert refused.value.body["error"]["type"] == "not_found_error" and refused.value.request_id.startswith("req_")
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > 2047 maximum"):
        client.messages.create(model="tiny", max_tokens=1, messages=[{"role": "user", "content": "a " * 9000}])
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    with pytest.raises(anthropic.BadRequestError, match="'image'"):
        client.messages.create(model="tiny", max_tokens=1, messages=[{"role": "user", "content": [image]}])
