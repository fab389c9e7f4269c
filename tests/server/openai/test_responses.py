"""Responses: the events in their order, and the object that they build, the same without a stream."""

import json

import pytest

from qwen3edge.server.errors import BodyError
from qwen3edge.server.openai.response_body import ResponsesBody
from qwen3edge.server.parameters import MOST_MESSAGES, checked
from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, ids

BODY = '{"name": "weather", "arguments": {"city": "Köln"}}'
SAID = [CALL, *ids(BODY), CALLED]
ARGUMENTS = '{"city": "Köln"}'
TOOLS = [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
FORM = {"text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}}}


def post(client, **body):
    return client.post("/v1/responses", json={"input": "hi", "temperature": 0, **body})


def events(text):
    found = []
    for block in text.strip().split("\n\n"):
        if block.startswith(":"):
            continue
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def rebuilt(stream):
    """The output that a client puts together of a stream, each event checked against the items."""
    output, done = [], []
    for event in stream:
        kind = event["type"].removeprefix("response.")
        if "output_index" in event:
            assert event["output_index"] == len(done)
        if kind == "output_item.added":
            assert len(output) == len(done) and event["item"]["status"] == "in_progress"
            output.append(event["item"])
        elif kind.endswith("part.added"):
            place = "summary" if "summary" in kind else "content"
            assert event["item_id"] == output[-1]["id"] and output[-1][place] == [] and event["part"]["text"] == ""
            output[-1][place] = [event["part"]]
        elif kind.endswith("text.delta"):
            part = (output[-1].get("content") or output[-1]["summary"])[0]
            part["text"] += event["delta"]
            if "logprobs" in event:
                part["logprobs"] += event["logprobs"]
        elif kind.endswith(("text.done", "part.done")):
            part = (output[-1].get("content") or output[-1]["summary"])[0]
            assert event["item_id"] == output[-1]["id"]
            assert event.get("part", part) == part and event.get("text", part["text"]) == part["text"]
        elif kind == "function_call_arguments.delta":
            assert event["item_id"] == output[-1]["id"]
            output[-1]["arguments"] += event["delta"]
        elif kind == "function_call_arguments.done":
            assert event["arguments"] == output[-1]["arguments"] and event["name"] == output[-1]["name"]
        elif kind == "output_item.done":
            assert {**output[-1], "status": event["item"]["status"]} == event["item"]
            output[-1] = event["item"]
            done.append(event["item"])
    assert output == done
    return output


def say(server, script, **body):
    """The response; a stream builds the same one."""

    def again():
        server.core.script, server.core.said = script, 0

    again()
    whole = post(server.client, **body)
    assert whole.status_code == 200, whole.text
    again()
    stream = events(post(server.client, **body, stream=True).text)
    first, second, last = stream[0], stream[1], stream[-1]
    assert (first["type"], second["type"]) == ("response.created", "response.in_progress")
    assert first["response"]["status"] == "in_progress" and first["response"]["output"] == []
    assert last["response"]["id"] == first["response"]["id"] and last["response"]["output"] == rebuilt(stream)
    assert last["type"] == f"response.{last['response']['status']}"
    assert plain(last["response"]) == plain(whole.json())
    return last["response"]


def plain(response):
    """Without what differs each time."""
    usage = {**response["usage"], "input_tokens_details": None}
    output = [{**item, "id": None, "call_id": None} for item in response["output"]]
    changing = {"id": None, "created_at": None, "completed_at": None, "timings": None, "usage": usage, "output": output}
    return response | changing


def test_thoughts_text_and_calls(scripted):
    script = [OPEN, *ids("hm"), CLOSE, *ids("so"), *SAID, *SAID, END]
    found = say(scripted, script, tools=TOOLS)
    thoughts, message, *calls = found["output"]
    assert thoughts["content"] == [{"type": "reasoning_text", "text": "hm"}] and thoughts["summary"] == []
    assert message["content"] == [{"type": "output_text", "annotations": [], "logprobs": [], "text": "so"}]
    assert [(call["name"], call["arguments"]) for call in calls] == [("weather", ARGUMENTS)] * 2
    assert all(item["status"] == "completed" for item in found["output"]) and found["status"] == "completed"
    assert len({call["call_id"] for call in calls}) == len({call["id"] for call in calls}) == 2
    assert found["object"] == "response" and found["model"] == "scripted" and found["tools"] == TOOLS
    assert found["usage"]["output_tokens"] == len(script)
    assert found["usage"]["output_tokens_details"] == {"reasoning_tokens": 2}


def test_strict_functions_are_told_on(scripted):
    answer = post(scripted.client, tools=[{**TOOLS[0], "strict": "perhaps"}])
    assert answer.status_code == 400 and "expected strict as true or false" in answer.json()["error"]["message"]


def test_the_order_of_events(scripted):
    scripted.core.script, scripted.core.said = [OPEN, *ids("h"), CLOSE, *ids("so"), *SAID, END], 0
    names = [event["type"] for event in events(post(scripted.client, tools=TOOLS, stream=True).text)]
    part = ["content_part.done", "output_item.done"]
    expected = [
        "created", "in_progress",
        "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done", *part,
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done", *part,
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    assert names == [f"response.{name}" for name in expected]


def test_thoughts_as_their_summary(scripted):
    """Where a client asks for one: it shows nothing else of them."""
    script = [OPEN, *ids("hm"), CLOSE, *ids("so"), END]
    found = say(scripted, script, reasoning={"summary": "auto", "effort": "high"})
    assert found["output"][0]["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert "content" not in found["output"][0] and found["reasoning"] == {"effort": "high", "summary": "auto"}


def test_text_behind_a_call_is_another_message(scripted):
    found = say(scripted, [*ids("a"), *SAID, *ids("b"), END], tools=TOOLS)
    assert [item["type"] for item in found["output"]] == ["message", "function_call", "message"]


def test_one_call_where_no_others_are_wanted(scripted):
    found = say(scripted, [*SAID, *SAID, END], tools=TOOLS, parallel_tool_calls=False)
    assert [item["type"] for item in found["output"]] == ["function_call"]


def test_c12_what_is_cut_is_incomplete(scripted):
    found = say(scripted, [*ids("so"), *SAID, END], tools=TOOLS, max_output_tokens=len(SAID))
    (message,) = found["output"]
    assert (message["status"], found["status"]) == ("incomplete", "incomplete")
    assert found["incomplete_details"] == {"reason": "max_output_tokens"} and found["completed_at"] is None


def test_an_answer_of_nothing_is_an_empty_message(scripted):
    found = say(scripted, [END])
    assert [item["content"][0]["text"] for item in found["output"]] == [""]


def test_text_of_a_form(scripted):
    assert json.loads(say(scripted, ids('{"a": 4}'), **FORM)["output"][0]["content"][0]["text"]) == {"a": 4}
    free = say(scripted, ids("{}"), text={"format": {"type": "json_object"}}, reasoning={"effort": "none"})
    assert free["output"][0]["content"][0]["text"] == "{}"
    assert free["text"] == {"format": {"type": "json_object"}}


def test_a_form_beside_tools(scripted):
    """Content of the form, or calls."""
    found = say(scripted, [*ids('{"a": 4}'), END], tools=TOOLS, reasoning={"effort": "none"}, **FORM)
    assert found["output"][0]["content"][0]["text"] == '{"a": 4}'
    call = [CALL, *ids('\n{"name": "weather", "arguments": {}}\n'), CALLED, END]
    found = say(scripted, call, tools=TOOLS, reasoning={"effort": "none"}, **FORM)
    assert found["output"][0]["arguments"] == "{}"
    assert say(scripted, call, tools=TOOLS, tool_choice="required", **FORM)["output"][-1]["name"] == "weather"


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "name": "weather"},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]},
    ],
)
def test_a_call_that_must_come(scripted, choice):
    other = {"type": "function", "name": "other", "parameters": {"type": "object"}}
    call = [CALL, *ids('\n{"name": "weather", "arguments": {}}\n'), CALLED, END]
    found = say(scripted, call, tools=[other, *TOOLS], tool_choice=choice)
    assert [(item["name"], item["arguments"]) for item in found["output"]] == [("weather", "{}")]


def test_logprobs_of_the_text_alone(scripted):
    body = {"include": ["message.output_text.logprobs", "reasoning.encrypted_content"], "top_logprobs": 2}
    found = say(scripted, [OPEN, *ids("hm"), CLOSE, *ids("yé"), END], **body)
    part = found["output"][1]["content"][0]
    assert [each["bytes"] for each in part["logprobs"]] == [[byte] for byte in "yé".encode()]
    assert all(len(each["top_logprobs"]) == 2 for each in part["logprobs"])
    without = say(scripted, [*ids("y"), END], include=["reasoning.encrypted_content"])
    assert without["output"][0]["content"][0]["logprobs"] == []


def test_tools_of_other_types_are_left_out_and_named(scripted):
    others = [{"type": "web_search"}, {"type": "custom", "name": "apply_patch"}, {"type": "namespace", "tools": []}]
    scripted.core.script, scripted.core.said = [*SAID, END], 0
    response = post(scripted.client, tools=[*TOOLS, *others])
    assert response.headers["x-tools-left-out"] == "web_search, custom, namespace"
    assert response.json()["tools"] == TOOLS and response.json()["output"][0]["type"] == "function_call"


def test_what_cannot_change_the_answer_has_no_effect(scripted):
    ignored = {"store": True, "metadata": {"a": "b"}, "include": ["reasoning.encrypted_content"], "user": "me",
               "prompt_cache_key": "k", "service_tier": "auto", "client_metadata": {}, "background": False,
               "truncation": "disabled", "previous_response_id": None}  # fmt: skip
    found = say(scripted, [*ids("yes"), END], **ignored)
    assert found["output"][0]["content"][0]["text"] == "yes" and found["metadata"] == {"a": "b"}


@pytest.mark.parametrize(
    ("body", "parameter", "said"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id", "whole conversation as input"),
        ({"conversation": "conv_1"}, "conversation", "keeps no responses"),
        ({"prompt": {"id": "x"}}, "prompt", "keeps no prompts"),
        ({"background": True}, "background", "False"),
        ({"truncation": "auto"}, "truncation", "disabled"),
        ({"input": 7}, "input", "valid string"),
        ({"input": []}, None, "at least one"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input", "item_reference"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format", "schema"),
        ({"text": {"verbosity": "low"}}, "text.verbosity", "expected no parameter"),
        ({"reasoning": {"effort": "much"}}, "reasoning.effort", "'none'"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "with a name"),
        ({"tools": TOOLS, "tool_choice": {"type": "web_search"}}, None, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools"}}, "tool_choice", "list of tools"),
        ({"max_tokens": 5}, "max_tokens", "does not know"),
        ({"include": ["everything"]}, "include.0", "reasoning.encrypted_content"),
    ],
)
def test_what_is_refused(scripted, body, parameter, said):
    response = post(scripted.client, **body)
    error = response.json()["error"]
    assert response.status_code == 400, response.text
    assert error["param"] == parameter and said in error["message"]


def test_a_text_may_have_more_letters_than_a_conversation_has_items():
    """What bounds items does not bound a text; the context does."""
    assert checked({"input": "a" * (MOST_MESSAGES + 1)}, ResponsesBody).request().input
    with pytest.raises(BodyError, match=r"input: .*at most 4096 items"):
        checked({"input": [{"role": "user", "content": "a"}] * (MOST_MESSAGES + 1)}, ResponsesBody)


def test_c39_an_error_in_the_middle_of_a_stream(scripted, monkeypatch):
    begun = scripted.core.forward

    def forward(*arguments, **keywords):
        if scripted.core.said == 3:
            scripted.core.failing = RuntimeError("the text of a client")
        return begun(*arguments, **keywords)

    monkeypatch.setattr(scripted.core, "forward", forward)
    scripted.core.script, scripted.core.said = [*ids("abcdef"), END], 0
    try:
        text = post(scripted.client, stream=True).text
    finally:
        scripted.core.failing = None
    *_, last = events(text)
    assert last["type"] == "response.failed" and last["response"]["status"] == "failed"
    assert last["response"]["error"]["code"] == "server_error" and "the text of a client" not in text


def test_c31_items_that_come_back_read_only_what_is_new(tiny):
    """The output is the next input, as agents send it."""
    question = {"role": "user", "content": "What is the weather in Prague?"}
    tools = [{"type": "function", "name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}}}]  # fmt: skip
    body = {"tools": tools, "max_output_tokens": 200, "instructions": "Be brief."}
    first = post(tiny, input=[question], **body).json()
    assert [item["type"] for item in first["output"]] == ["reasoning", "function_call"]
    result = {"type": "function_call_output", "call_id": first["output"][1]["call_id"], "output": '{"sky": "foggy"}'}
    again = post(tiny, input=[question, *first["output"], result], **body).json()
    sent = first["usage"]["total_tokens"]
    assert again["usage"]["input_tokens_details"]["cached_tokens"] >= 0.99 * (sent - 2)
    assert again["output"][-1]["type"] == "message"


def test_an_empty_turn_is_no_other_item(scripted):
    """Blanks around thoughts make no message."""
    found = say(scripted, [OPEN, *ids("hm"), CLOSE, *ids("\n\n"), *SAID, END], tools=TOOLS)
    assert [item["type"] for item in found["output"]] == ["reasoning", "function_call"]
