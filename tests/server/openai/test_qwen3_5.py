"""Chats with Qwen3.5's own templates, of which small models' close the thoughts and larger ones' open them."""

import json
from pathlib import Path

import pytest

from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, ids
from tests.server.scripted import HI, Scripted

TEMPLATES = Path(__file__).parents[2] / "data" / "templates"
ON, OFF = ({"chat_template_kwargs": {"enable_thinking": on}} for on in (True, False))
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]
BODY = "\n<function=weather>\n<parameter=city>\nKöln\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n"
SAID = [CALL, *ids(BODY), CALLED]
WEATHER = {"name": "weather", "arguments": '{"city": "Köln", "days": 3}'}


@pytest.fixture(scope="module", params=["nothink", "think"])
def server(request, tmp_path_factory):
    template = (TEMPLATES / f"qwen3_5_{request.param}.jinja").read_text(encoding="utf-8")
    with Scripted(tmp_path_factory.mktemp(request.param), template, context=4000) as made:
        made.thinks_unasked = request.param == "think"
        yield made


def test_c1_without_thinking_all_is_content(server):
    for off in (OFF, {"enable_thinking": False}, {"reasoning_effort": "none"}):
        found = server.say([*ids("yes"), END], **off)
        assert (found["content"], found["reasoning"], found["finish"]) == ("yes", None, "stop")


def test_c2_the_prompt_has_opened_the_thoughts(server):
    for on in (ON, {"reasoning_effort": "high"}, *([{}] if server.thinks_unasked else [])):
        found = server.say([*ids("hm\n"), CLOSE, *ids("\n\nyes"), END], **on)
        assert (found["reasoning_content"], found["reasoning"], found["content"]) == ("hm", "hm", "yes")
        found = server.say([*ids("hm"), END], **on)
        assert (found["reasoning"], found["content"]) == ("hm", "")


def test_c3_the_template_decides_when_nobody_says(server):
    found = server.say([*ids("yes"), END])
    expected = ("", "yes") if server.thinks_unasked else ("yes", None)
    assert (found["content"], found["reasoning"]) == expected


def test_calls_in_xml(server):
    found = server.say(
        [*ids("hm"), CLOSE, *ids("\n\nSo."), *ids("\n\n"), *SAID, *ids("\n"), *SAID, END], tools=TOOLS, **ON
    )
    assert (found["reasoning"], found["content"], found["finish"]) == ("hm", "So.", "tool_calls")
    assert found["calls"] == [WEATHER, WEATHER]
    found = server.say([*SAID, END], tools=TOOLS, **OFF)
    assert (found["content"], found["calls"], found["finish"]) == (None, [WEATHER], "tool_calls")


def test_a_call_in_the_thoughts(server):
    found = server.say([*ids("hm\n"), *SAID, END], tools=TOOLS, **ON)
    assert (found["reasoning"], found["calls"], found["finish"]) == ("hm", [WEATHER], "tool_calls")


def test_a_call_that_must_come(server):
    for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
        found = server.say([*ids("hm"), CLOSE, *SAID, END], tools=TOOLS, tool_choice=choice, **ON)
        assert (found["reasoning"], found["finish"]) == ("hm", "tool_calls")
        assert found["calls"] == [WEATHER]


def test_the_thinking_budget(server):
    found = server.say([*ids("hmmmm"), CLOSE, *ids("yes"), END], thinking_budget=2, **ON)
    assert found["reasoning"] == "hm"


def test_a_call_and_its_result_come_back(server):
    """The prompt shows the model its call as it wrote it."""
    call = {"id": "c", "type": "function", "function": WEATHER}
    messages = [*HI, {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call]}]
    messages.append({"role": "tool", "tool_call_id": "c", "content": "rain"})
    body = {"messages": messages, "tools": TOOLS}
    prompt = server.client.post("/apply-template", json=body).json()["prompt"]
    assert f"<think>\nhm\n</think>\n\n<tool_call>{BODY}</tool_call><|im_end|>\n" in prompt
    assert "<|im_start|>user\n<tool_response>\nrain\n</tool_response><|im_end|>\n" in prompt
    assert server.say([*ids("yes"), END], **body, **OFF)["content"] == "yes"


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([*HI, {"role": "system", "content": "x"}], "System message must be at the beginning."),
        ([{"role": "system", "content": "x"}], "No user query found in messages."),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}], "image_url"),
    ],
)
def test_what_the_template_cannot_say_is_refused(server, messages, reason):
    for stream in (False, True):
        response = server.post([END], messages=messages, stream=stream)
        assert response.status_code == 400
        assert reason in json.dumps(response.json()["error"])


def test_a_second_mark_is_no_content(server):
    found = server.say([OPEN, *ids("\nhm"), CLOSE, *ids("yes"), END], **ON)
    assert (found["reasoning"], found["content"]) == ("hm", "yes")
