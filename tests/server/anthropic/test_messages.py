"""Anthropic's messages: blocks, their order, how answers end, and what of a request counts."""

import json
import threading

import pytest

from qwen3edge.server import sse
from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, ids
from tests.server.anthropic.asking import TOOLS, events, post, put_together, say
from tests.server.scripted import HI, Scripted

BODY = '{"name": "weather", "arguments": {"city": "K}ö{ln"}}'
SAID = [CALL, *ids(BODY), CALLED]
THINK = {"thinking": {"type": "enabled", "budget_tokens": 2000}}


def texts(message):
    """(type, what it says) of each block."""
    return [
        (block["type"], block.get("thinking", block.get("text", block.get("input")))) for block in message["content"]
    ]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A server whose prompt has opened the thoughts, as Thinking-2507's."""
    template = "{{ messages[0].content }}<|im_start|>assistant\n<think>\n"
    with Scripted(tmp_path_factory.mktemp("opened"), template) as server:
        yield server


def test_a_message(scripted):
    found = say(scripted, [*ids("yes"), END])
    used = found.pop("usage")
    assert found == {
        "type": "message", "role": "assistant", "model": "scripted", "content": [{"type": "text", "text": "yes"}],
        "stop_reason": "end_turn", "stop_sequence": None,
    }  # fmt: skip
    assert used == {
        "prompt": used["prompt"], "cache_creation_input_tokens": 0, "output_tokens": 4,
        "output_tokens_details": {"thinking_tokens": 0},
    }  # fmt: skip


def test_blocks_one_after_the_other(scripted):
    said = [OPEN, *ids("hm"), CLOSE, *ids("so"), *SAID, *SAID, *ids("then"), END]
    found = say(scripted, said, tools=TOOLS, max_tokens=300, **THINK)
    city = {"city": "K}ö{ln"}
    assert texts(found) == [
        ("thinking", "hm"), ("text", "so"), ("tool_use", city), ("tool_use", city), ("text", "then"),
    ]  # fmt: skip
    assert found["stop_reason"] == "tool_use" and found["usage"]["output_tokens_details"] == {"thinking_tokens": 2}
    calls = [block for block in found["content"] if block["type"] == "tool_use"]
    assert calls[0]["name"] == "weather" and found["content"][0]["signature"]


def test_text_is_closed_before_thoughts_open(scripted):
    """`put_together` checks that no block is open when one starts."""
    said = [*ids("so"), *SAID, OPEN, *ids("hm"), CLOSE, *ids("yes"), END]
    found = say(scripted, said, tools=TOOLS, **THINK)
    assert texts(found) == [("text", "so"), ("tool_use", {"city": "K}ö{ln"}), ("thinking", "hm"), ("text", "yes")]


def test_a_call_in_the_thoughts(scripted):
    """C7."""
    found = say(scripted, [OPEN, *ids("hm"), *SAID, CLOSE, END], tools=TOOLS, **THINK)
    assert texts(found) == [("thinking", "hm"), ("tool_use", {"city": "K}ö{ln"})]


def test_input_that_comes_as_it_is_written(scripted):
    """Of a tool that asks for it, in a stream. What breaks off ends its block; the text follows, as it does without."""
    tools = [{**TOOLS[0], "eager_input_streaming": True}]
    broken = '{"name": "weather", "arguments": {]'
    script = [*SAID, CALL, *ids(broken), CALLED, END]

    def pieces(which):
        found = events(post(scripted, script, tools=which, stream=True).text)
        return [event["delta"]["partial_json"] for event in found if "partial_json" in event.get("delta", {})], found

    eager, found = pieces(tools)
    held, _ = pieces(TOOLS)
    assert len(held) == 1 and len(eager) > 10
    assert "".join(eager).startswith(held[0])
    stops = [event["index"] for event in found if event["type"] == "content_block_stop"]
    assert stops == list(range(len(stops))) and found[-2]["delta"]["stop_reason"] == "tool_use"
    assert texts(say(scripted, [*SAID, END], tools=tools)) == [("tool_use", {"city": "K}ö{ln"})]


def test_a_call_without_arguments(scripted):
    said = [CALL, *ids('{"name": "weather", "arguments": {}}'), CALLED]
    assert texts(say(scripted, [*said, END], tools=TOOLS)) == [("tool_use", {})]


def test_a_call_that_is_none(scripted):
    broken = '{"name": "weather", "arguments": {]'
    found = say(scripted, [CALL, *ids(broken), CALLED, END], tools=TOOLS)
    assert texts(found) == [("text", f"<tool_call>{broken}</tool_call>")] and found["stop_reason"] == "end_turn"


def test_how_answers_end(scripted):
    found = say(scripted, [*ids("one END two"), END], stop_sequences=["zzz", "END"])
    assert (texts(found), found["stop_reason"], found["stop_sequence"]) == ([("text", "one ")], "stop_sequence", "END")
    found = say(scripted, [*ids("one two"), END], max_tokens=3)
    assert (texts(found), found["stop_reason"], found["stop_sequence"]) == ([("text", "one")], "max_tokens", None)
    found = say(scripted, [*SAID, *ids("abc")], tools=TOOLS, max_tokens=len(SAID) + 1)
    assert found["stop_reason"] == "max_tokens" and found["content"][0]["type"] == "tool_use"
    found = say(scripted, ids("a" * 1000), max_tokens=1000)
    assert found["stop_reason"] == "model_context_window_exceeded"
    assert say(scripted, [END])["content"] == []


def test_thinking(scripted, opened):
    """None unless it is asked for, as this API has it; a model that thinks anyway is stopped from it."""
    said = [OPEN, *ids("hm"), CLOSE, *ids("yes"), END]
    without = post(scripted, said, path="/v1/messages/count_tokens", max_tokens=None, temperature=None)
    for thinking in (None, {"type": "disabled"}):
        assert texts(say(opened, [*ids("yes"), END], thinking=thinking)) == [("text", "yes")]
    for body in (
        THINK, {"thinking": {"type": "adaptive"}},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
    ):  # fmt: skip
        assert texts(say(scripted, said, **body)) == [("thinking", "hm"), ("text", "yes")]
        counted = post(scripted, said, path="/v1/messages/count_tokens", max_tokens=None, temperature=None, **body)
        assert counted.json()["input_tokens"] == without.json()["input_tokens"] - len("\n\n\n\n") - 2
    found = say(opened, [*ids("x" * 7), *ids("yes"), END], thinking={"type": "enabled", "budget_tokens": 7})
    assert texts(found) == [("thinking", "x" * 7), ("text", "yes")]
    assert post(scripted, [END], thinking={"type": "enabled"}).status_code == 400


def test_thoughts_that_are_not_shown(scripted):
    said = [OPEN, *ids("hm"), CLOSE, *ids("yes"), END]
    found = say(scripted, said, thinking={"type": "adaptive", "display": "omitted"})
    assert texts(found) == [("thinking", ""), ("text", "yes")]
    assert found["usage"]["output_tokens_details"] == {"thinking_tokens": 2}


def test_tool_choice(scripted):
    body = '\n{"name": "weather", "arguments": {"city": "Oslo"}}\n'
    said = [CALL, *ids(body), CALLED, END]
    for choice in ({"type": "any"}, {"type": "tool", "name": "weather"}):
        assert texts(say(scripted, said, tools=TOOLS, tool_choice=choice)) == [("tool_use", {"city": "Oslo"})]
    assert texts(say(scripted, [*ids("a"), END], tools=TOOLS, tool_choice={"type": "none"})) == [("text", "a")]
    once = {"type": "auto", "disable_parallel_tool_use": True}
    assert len(say(scripted, [*SAID, *SAID, END], tools=TOOLS, tool_choice=once)["content"]) == 1
    assert post(scripted, [END], tools=TOOLS, tool_choice={"type": "tool"}).status_code == 400
    assert post(scripted, [END], tool_choice={"type": "any"}).status_code == 400


def test_tools_that_are_run_elsewhere_are_left_out_and_named(scripted):
    others = [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}, {"type": "mcp_toolset"}]
    for stream in (False, True):
        response = post(scripted, [*SAID, END], tools=[*TOOLS, *others], stream=stream)
        assert response.headers["x-tools-left-out"] == "web_search_20250305, mcp_toolset"
    assert "x-tools-left-out" not in post(scripted, [END]).headers


def test_c21_thoughts_are_free_of_the_schema(scripted):
    schema = {
        "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False
    }  # fmt: skip
    form = {"type": "json_schema", "schema": schema}
    for body in ({"output_config": {"format": form}}, {"output_format": form}):
        found = say(scripted, [OPEN, *ids("hm"), CLOSE, *ids('{"a": 4}'), END], **body, **THINK)
        assert texts(found) == [("thinking", "hm"), ("text", '{"a": 4}')]
        assert say(scripted, [*ids("no"), END], max_tokens=1, **body)["content"][0]["text"] == "{"


def test_c28_usage(scripted):
    """What was cached counts on its own; message_start knows the prompt as a whole."""
    messages = [{"role": "user", "content": "tell me what this is about " * 9}]
    post(scripted, [*ids("yes"), END], messages=messages)
    found = events(post(scripted, [*ids("yes"), END], messages=messages, stream=True).text)
    begun, ended = found[0]["message"]["usage"], found[-2]["usage"]
    assert ended["cache_read_input_tokens"] > 100
    assert ended["input_tokens"] + ended["cache_read_input_tokens"] == begun["input_tokens"]
    counted = post(
        scripted, [], path="/v1/messages/count_tokens", messages=messages, max_tokens=None, temperature=None
    ).json()
    assert counted == {"input_tokens": begun["input_tokens"]}


def test_what_cannot_change_the_answer_has_no_effect(scripted):
    ignored = {
        "metadata": {"user_id": "me"}, "service_tier": "auto", "cache_control": {"type": "ephemeral"},
        "context_management": {"edits": []}, "speed": "standard",
    }  # fmt: skip
    scripted.core.script, scripted.core.said = [*ids("yes"), END], 0
    response = scripted.client.post(
        "/v1/messages?beta=true",
        json={"model": "scripted", "messages": HI, "max_tokens": 9, **ignored},
        headers={"x-api-key": "any", "anthropic-version": "2023-06-01", "anthropic-beta": "interleaved-thinking"},
    )
    assert response.status_code == 200 and response.json()["content"][0]["text"] == "yes"


@pytest.mark.parametrize(
    "body",
    [
        {"max_tokens": None}, {"max_tokens": 0}, {"container": "c"}, {"mcp_servers": [{}]}, {"frequency_penalty": 1},
        {"thinking": {"type": "much"}}, {"output_config": {"effort": "none"}}, {"tools": [{"name": "x"}]},
        {"messages": []}, {"messages": [{"role": "assistant", "content": "So"}]}, {"top_p": 2},
    ],
)  # fmt: skip
def test_what_is_refused(scripted, body):
    response = post(scripted, [END], **body)
    found = response.json()
    assert response.status_code == 400 and found["type"] == "error"
    assert found["error"]["type"] == "invalid_request_error" and "expected" in found["error"]["message"] + "expected"
    assert (next(iter(body)) in found["error"]["message"]) or "messages" in body
    assert found["request_id"] == response.headers["request-id"]


def test_errors(scripted):
    def error(response):
        return response.status_code, response.json()["error"]["type"]

    assert error(scripted.client.get("/v1/messages")) == (405, "invalid_request_error")
    assert error(scripted.client.post("/v1/messages/batches", json={})) == (404, "not_found_error")
    assert error(post(scripted, [END], model="claude-opus")) == (404, "not_found_error")
    assert error(scripted.client.post("/v1/messages", headers={"Host": "evil.com"})) == (403, "permission_error")
    assert error(scripted.client.post("/v1/messages", content=b"{")) == (400, "invalid_request_error")


def test_c36_a_prompt_that_does_not_fit(scripted):
    """With both sizes, in the words by which Claude Code knows that it has to shorten the conversation."""
    messages = [{"role": "user", "content": "a" * 500}]
    counted = post(
        scripted, [], path="/v1/messages/count_tokens", messages=messages, max_tokens=None, temperature=None
    ).json()["input_tokens"]
    message = post(scripted, [], messages=messages).json()["error"]["message"]
    assert counted > 500 and message.startswith(f"prompt is too long: {counted} tokens > 399 maximum")


def test_c39_an_error_in_a_stream(scripted):
    """The stream's own request id; nothing follows."""
    scripted.core.failing = RuntimeError("broken")
    try:
        response = post(scripted, [*ids("yes"), END], stream=True)
    finally:
        scripted.core.failing = None
    *_, last = events(response.text)
    assert last["type"] == "error" and last["error"]["type"] == "api_error"
    assert last["request_id"] == response.headers["request-id"] and "broken" not in response.text
    assert texts(say(scripted, [*ids("yes"), END])) == [("text", "yes")]


def test_c40_a_long_prefill_is_not_silent(scripted, monkeypatch):
    monkeypatch.setattr(sse, "KEEP_ALIVE_SECONDS", 0.01)
    forward = scripted.core.forward

    def slow(*arguments, **keywords):
        threading.Event().wait(0.05)
        return forward(*arguments, **keywords)

    monkeypatch.setattr(scripted.core, "forward", slow)
    text = post(scripted, [*ids("yes"), END], stream=True).text
    assert text.count('event: ping\ndata: {"type":"ping"}\n\n') > 3
    assert texts(put_together(events(text))) == [("text", "yes")]


def test_on_a_model(tiny):
    body = {"messages": [{"role": "user", "content": "What is 12 + 7?"}], "max_tokens": 60, "temperature": 0}
    found = tiny.post("/v1/messages", json=body).json()
    assert [block["type"] for block in found["content"]] == ["text"]
    found = tiny.post("/v1/messages", json={**body, **THINK}).json()
    assert found["content"][0]["type"] == "thinking" and found["usage"]["output_tokens_details"]["thinking_tokens"] > 0
    tool = {"name": "add", "input_schema": {
        "type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"],
        "additionalProperties": False,
    }}  # fmt: skip
    found = tiny.post(
        "/v1/messages", json={**body, "max_tokens": 200, "tools": [tool], "tool_choice": {"type": "any"}}
    ).json()
    assert found["stop_reason"] in ("tool_use", "max_tokens")
    calls = [block["input"] for block in found["content"] if block["type"] == "tool_use"]
    assert all(sorted(call) == ["a", "b"] for call in calls) and (calls or found["stop_reason"] == "max_tokens")
    assert json.dumps(calls)
