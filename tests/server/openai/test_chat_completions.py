"""Chats: what clients see of every way in which a model may answer, as a whole and in a stream."""

import json
import threading

import pytest

from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, ids
from tests.server.scripted import HI, TOOLS, Scripted, events, joined_chunks

BODY = '{"name": "weather", "arguments": {"city": "K}ö{ln"}}'
SAID = [CALL, *ids(BODY), CALLED]
WEATHER = {"name": "weather", "arguments": '{"city": "K}ö{ln"}'}
OFF = {"chat_template_kwargs": {"enable_thinking": False}}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A server whose prompt has opened the thoughts, as Thinking-2507's."""
    template = "{{ messages[0].content }}{{ enable_thinking }}<|im_start|>assistant\n<think>\n"
    with Scripted(tmp_path_factory.mktemp("opened"), template) as server:
        yield server


def test_c1_without_thinking_all_is_content(scripted):
    found = scripted.say([*ids("yes"), END], **OFF)
    assert (found["content"], found["reasoning"], found["finish"]) == ("yes", None, "stop")
    assert scripted.say([*ids("yes"), END], enable_thinking=False)["content"] == "yes"
    assert scripted.say([*ids("yes"), END], reasoning_effort="none")["content"] == "yes"


def test_c2_the_prompt_has_opened_the_thoughts(opened):
    found = opened.say([*ids("hm"), CLOSE, *ids("\n\nyes"), END])
    assert (found["reasoning_content"], found["reasoning"], found["content"]) == ("hm", "hm", "yes")


def test_c3_no_thoughts_are_seen(scripted):
    found = scripted.say([*ids("yes"), END])
    assert (found["content"], found["reasoning"]) == ("yes", None)


def test_c4_a_mark_behind_the_answer(scripted):
    found = scripted.say([OPEN, *ids("hm"), CLOSE, *ids("yes"), OPEN, END])
    assert (found["content"], found["reasoning"], found["finish"]) == ("yes", "hm", "stop")


def test_c5_a_stop_string_beside_a_mark(scripted):
    found = scripted.say([OPEN, *ids("a#b"), CLOSE, *ids("yes#no"), END], stop="#")
    assert (found["reasoning"], found["content"], found["finish"]) == ("a#b", "yes", "stop")


def test_c6_cut_in_the_thoughts(scripted):
    found = scripted.say([OPEN, *ids("hmmmm"), CLOSE, END], max_tokens=4)
    assert (found["reasoning"], found["content"], found["finish"]) == ("hmm", "", "length")
    assert scripted.say([OPEN, *ids("hmmmm")], max_completion_tokens=3, max_tokens=9)["reasoning"] == "hm"


def test_c7_a_call_in_the_thoughts(scripted):
    found = scripted.say([OPEN, *ids("hm"), *SAID, CLOSE, END], tools=TOOLS)
    assert (found["reasoning"], found["calls"], found["finish"]) == ("hm", [WEATHER], "tool_calls")


def test_c8_a_call_without_thinking(scripted):
    found = scripted.say([*SAID, END], tools=TOOLS, **OFF)
    assert (found["content"], found["calls"], found["finish"]) == (None, [WEATHER], "tool_calls")


def test_c9_no_call_by_choice(scripted):
    """The token that begins one cannot come: the next best does, here the first of the vocabulary."""
    found = scripted.say([*ids("a"), CALL, *ids("b"), END], tools=TOOLS, tool_choice="none")
    assert found["calls"] == [] and found["finish"] == "stop" and "<tool_call>" not in found["content"]
    assert scripted.say([*ids("a"), END], tool_choice="none")["content"] == "a"


def test_c10_calls_that_must_come_keep_the_thoughts(scripted):
    body = '\n{"name": "weather", "arguments": {"city": "Oslo"}}\n'
    script = [OPEN, *ids("hm"), CLOSE, CALL, *ids(body), CALLED, END]
    for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
        found = scripted.say(script, tools=TOOLS, tool_choice=choice)
        assert (found["reasoning"], found["finish"]) == ("hm", "tool_calls")
        assert found["calls"] == [{"name": "weather", "arguments": '{"city": "Oslo"}'}]
    assert scripted.post([END], tool_choice="required").status_code == 400


def test_c11_ids_and_indices_of_a_stream(scripted):
    """`joined_chunks` checks: one id, the role first, an integer index always, id and name in the first delta."""
    found = scripted.say([*SAID, *ids("\n"), *SAID, END], tools=TOOLS)
    assert found["calls"] == [WEATHER, WEATHER]
    response = scripted.post([*SAID, *SAID, END], tools=TOOLS, stream=True)
    parts = [call for chunk in events(response.text) for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert [part["index"] for part in parts] == [0, 0, 1, 1]
    assert [part["function"].get("name") for part in parts] == ["weather", None, "weather", None]
    assert len({part["id"] for part in parts if "id" in part}) == 2


def test_c12_a_cut_call_is_none(scripted):
    found = scripted.say([*ids("so"), *SAID], tools=TOOLS, max_tokens=len(SAID))
    assert (found["content"], found["calls"], found["finish"]) == ("so", [], "length")
    found = scripted.say([*SAID, *ids("abc")], tools=TOOLS, max_tokens=len(SAID) + 1)
    assert (found["content"], found["calls"], found["finish"]) == ("a", [WEATHER], "length")


def test_a_broken_call_is_text(scripted):
    """A stream does not show its beginning either."""
    broken = '{"name": "weather", "arguments": {]'
    found = scripted.say([*SAID, CALL, *ids(broken), CALLED, *SAID, END], tools=TOOLS)
    assert found["content"] == f"<tool_call>{broken}</tool_call>"
    assert found["calls"] == [WEATHER, WEATHER] and found["finish"] == "tool_calls"


def test_broken_calls_are_counted(scripted):
    """Beside the usage: their text is content, which a client may not look at where there are calls."""
    script = [CALL, *ids('{"name": "weather", "arguments": {]'), CALLED, *SAID, END]
    whole = scripted.post(script, tools=TOOLS).json()["timings"]
    *_, last = events(scripted.post(script, tools=TOOLS, stream=True, stream_options={"include_usage": True}).text)
    assert whole["broken_calls"] == last["timings"]["broken_calls"] == 1
    assert scripted.post([*SAID, END], tools=TOOLS).json()["timings"]["broken_calls"] == 0


def test_c13_braces_in_strings(scripted):
    assert json.loads(scripted.say([*SAID, END], tools=TOOLS)["calls"][0]["arguments"]) == {"city": "K}ö{ln"}


@pytest.mark.parametrize("parameters", [{}, {"parameters": None}, {"parameters": {}},
                                        {"parameters": {"type": "object", "properties": {}}}])  # fmt: skip
def test_c14_tools_without_parameters(scripted, parameters):
    tools = [{"type": "function", "function": {"name": "now", **parameters}}]
    call = '\n{"name": "now", "arguments": {}}\n'
    for choice in ("auto", "required"):
        found = scripted.say([CALL, *ids(call), CALLED, END], tools=tools, tool_choice=choice)
        assert found["calls"] == [{"name": "now", "arguments": "{}"}]


def test_one_call_where_no_others_are_wanted(scripted):
    found = scripted.say([*SAID, *SAID, END], tools=TOOLS, parallel_tool_calls=False)
    assert found["calls"] == [WEATHER] and found["finish"] == "tool_calls"


def test_tools_of_other_types_are_left_out_and_named(scripted):
    other = [{"type": "web_search"}, {"type": "custom", "name": "x"}]
    response = scripted.post([*SAID, END], tools=[*TOOLS, *other])
    assert response.headers["x-tools-left-out"] == "web_search, custom"
    assert response.json()["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("budget", [0, 1, 5])
def test_c16_c17_the_thinking_budget(scripted, opened, budget):
    found = opened.say([*ids("x" * budget), *ids("yes"), END], thinking_budget=budget)
    assert (found["reasoning"] or "", found["content"]) == ("x" * budget, "yes")
    assert found["usage"]["completion_tokens_details"]["reasoning_tokens"] == budget
    found = scripted.say([OPEN, *ids("x" * budget), *ids("yes"), END], thinking_budget=budget, max_tokens=99)
    assert (found["reasoning"] or "", found["content"]) == ("x" * budget, "yes")


def test_c18_the_budget_ends_no_call(scripted):
    found = scripted.say([OPEN, *ids("hm"), *SAID, CLOSE, *ids("yes"), END], tools=TOOLS, thinking_budget=3)
    assert (found["reasoning"], found["calls"], found["content"]) == ("hm", [WEATHER], "yes")


def test_c19_another_end_of_thoughts_is_no_content(scripted):
    found = scripted.say([OPEN, *ids("hmm"), CLOSE, CLOSE, *ids("\nyes"), END], thinking_budget=3)
    assert (found["reasoning"], found["content"]) == ("hmm", "yes")


def test_c20_words_before_the_cut(scripted):
    """Only where they are asked for, and beyond the budget, which stays as hard as it is."""
    script = [OPEN, *ids("hmm"), *ids("yes"), END]
    for message in ("", "\nEnough."):
        found = scripted.say(script, thinking_budget=3, thinking_budget_message=message)
        assert (found["reasoning"], found["content"]) == ("hmm" + message, "yes")
    assert scripted.post([END], thinking_budget=3, thinking_budget_message="x" * 1025).status_code == 400


def test_reasoning_effort_is_a_wish(scripted, opened):
    """Of a model that always thinks, "none" ends the thoughts before the first."""
    assert scripted.say([OPEN, *ids("hm"), CLOSE, *ids("yes"), END], reasoning_effort="high")["reasoning"] == "hm"
    assert opened.say([*ids("yes"), END], thinking_budget=0)["content"] == "yes"
    assert scripted.post([END], reasoning_effort="much").json()["error"]["param"] == "reasoning_effort"


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
FORM = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}}


def test_c21_thoughts_are_free_of_the_schema(scripted):
    found = scripted.say([OPEN, *ids("hm"), CLOSE, *ids('{"a": 4}'), END], **FORM)
    assert (found["reasoning"], json.loads(found["content"])) == ("hm", {"a": 4})


def test_c22_the_schema_holds_without_thinking(scripted):
    """What the model would rather say cannot come."""
    found = scripted.say([*ids('no{"a": 4}'), END], max_tokens=1, **FORM, **OFF)
    assert found["content"] == "{"
    assert json.loads(scripted.say([*ids('{"a": 4}'), END], **FORM, **OFF)["content"]) == {"a": 4}
    found = scripted.say([*ids("[1]"), END], response_format={"type": "json_object"}, max_tokens=1, **OFF)
    assert found["content"] == "{"


def test_a_schema_beside_tools(scripted):
    """The answer is content of the schema, or calls; where calls must come there is no content to hold to it."""
    assert json.loads(scripted.say([*ids('{"a": 4}'), END], tools=TOOLS, **FORM, **OFF)["content"]) == {"a": 4}
    assert scripted.say([*ids('no{"a": 4}'), END], max_tokens=1, tools=TOOLS, **FORM, **OFF)["content"] == "{"
    call = [CALL, *ids('\n{"name": "weather", "arguments": {"city": "Oslo"}}\n'), CALLED, END]
    for choice in ("auto", "required"):
        found = scripted.say(call, tools=TOOLS, tool_choice=choice, **FORM, **OFF)
        assert (found["content"], found["finish"]) == (None, "tool_calls")
        assert found["calls"] == [{"name": "weather", "arguments": '{"city": "Oslo"}'}]


def test_c23_c24_schemas_on_a_model(tiny):
    """No doubled brace, no endless blanks, behind thoughts that a budget ends as without."""
    for thinking in (False, True):
        body = {"messages": HI, "enable_thinking": thinking, "max_tokens": 99, "temperature": 1.5, "seed": 3, **FORM}
        choice = tiny.post("/v1/chat/completions", json={**body, "thinking_budget": 9}).json()["choices"][0]
        assert choice["finish_reason"] == "length" or list(json.loads(choice["message"]["content"])) == ["a"]
        assert choice["message"]["content"].startswith("{") and not choice["message"]["content"].startswith("{{")


def test_c24_blanks_of_a_schema_are_bounded(scripted):
    """A model that would rather go on with blanks for ever."""
    found = scripted.say([*ids("{"), *ids(" \n\t" * 100)], max_tokens=100, **FORM, **OFF)
    assert found["content"].startswith("{") and len(found["content"]) - len(found["content"].rstrip()) <= 32
    assert '"a"' in found["content"]


def test_c25_what_a_schema_cannot_be_held_to_is_refused(scripted):
    schema = {"type": "array", "uniqueItems": True}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    response = scripted.post([END], response_format=form)
    assert response.status_code == 400 and "uniqueItems" in response.json()["error"]["message"]
    assert scripted.post([END], response_format={"type": "json_schema"}).status_code == 400
    assert scripted.post([END], response_format={"type": "xml"}).json()["error"]["param"] == "response_format.type"


def test_c26_characters_of_several_tokens(scripted):
    assert scripted.say([*ids("naïve 🦙 你好"), END])["content"] == "naïve 🦙 你好"
    assert scripted.say([*ids("a"), *ids("🦙")[:2], END])["content"] == "a\ufffd"


def test_c27_stop_strings(scripted):
    found = scripted.say([OPEN, *ids("abc"), CLOSE, *ids("xabyabcz"), END], stop=["abc", "!"])
    assert (found["reasoning"], found["content"], found["finish"]) == ("abc", "xaby", "stop")
    assert scripted.say([*ids("xab"), END], stop="abc")["content"] == "xab"


def test_c28_usage(scripted):
    """`say` compares it with the stream's; the chunk that has it has no choices."""
    usage = scripted.say([OPEN, *ids("hm"), CLOSE, *ids("yes"), END])["usage"]
    assert usage["completion_tokens"] == 8 and usage["total_tokens"] == 8 + usage["prompt_tokens"]
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 2}
    chunks = events(scripted.post([*ids("yes"), END], stream=True).text)
    assert all(chunk["choices"] and "usage" not in chunk for chunk in chunks)
    chunks = events(scripted.post([*ids("yes"), END], stream=True, stream_options={"include_usage": True}).text)
    assert [chunk["usage"] is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]


def test_usage_in_every_chunk_where_it_is_asked_for(scripted):
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = events(
        scripted.post([OPEN, *ids("hm"), CLOSE, *ids("yes"), END], stream=True, stream_options=options).text
    )
    used = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert used == sorted(used) and used[-1] == 8 and len(set(used)) > 3
    prompts = {chunk["usage"]["prompt_tokens"] for chunk in chunks}
    assert len(prompts) == 1 and chunks[-1]["usage"]["total_tokens"] == prompts.pop() + 8
    alone = events(scripted.post([*ids("yes"), END], stream=True, stream_options={"continuous_usage_stats": True}).text)
    assert all("usage" not in chunk for chunk in alone)


def test_several_answers(tiny):
    body = {"messages": HI, "n": 3, "temperature": 3, "top_k": 0, "top_p": 1, "seed": 5, "max_tokens": 24,
            "logprobs": True, "top_logprobs": 2}  # fmt: skip
    whole = tiny.post("/v1/chat/completions", json=body).json()
    stream = tiny.post(
        "/v1/chat/completions", json={**body, "stream": True, "stream_options": {"include_usage": True}}
    ).text
    choices, usage = joined_chunks(stream)
    for choice, found in zip(choices, whole["choices"], strict=True):
        assert choice.pop("calls") == []
        assert choice == found
    assert len({choice["message"]["content"] for choice in whole["choices"]}) == 3
    assert usage["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > 0


def test_logprobs(scripted):
    found = scripted.post([*ids("yé"), END], logprobs=True, top_logprobs=2, **OFF).json()["choices"][0]["logprobs"]
    assert [token["bytes"] for token in found["content"]] == [[byte] for byte in "yé".encode()]
    assert all(len(token["top_logprobs"]) == 2 and token["logprob"] <= 0 for token in found["content"])
    assert scripted.say([*ids("yes"), END], logprobs=True, **OFF)["content"] == "yes"
    assert scripted.say([OPEN, *ids("hm"), *ids("yes"), END], logprobs=True, thinking_budget=2)["content"] == "yes"
    assert scripted.post([END], top_logprobs=2).status_code == 400


def test_c30_c31_reasoning_that_comes_back(tiny):
    """A tool loop that sends thoughts and calls back reads only what is new, whatever their field is called."""
    messages = [{"role": "user", "content": "What is the weather in Prague?"}]
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}}}}]  # fmt: skip
    body = {"messages": messages, "tools": tools, "temperature": 0, "max_tokens": 200}
    first = tiny.post("/v1/chat/completions", json=body).json()
    message = first["choices"][0]["message"]
    assert first["choices"][0]["finish_reason"] == "tool_calls" and message["reasoning"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": '{"sky": "foggy"}'}
    sent = first["usage"]["prompt_tokens"] + first["usage"]["completion_tokens"]
    for name in ("reasoning", "reasoning_content"):
        echoed = {key: value for key, value in message.items() if not key.startswith("reasoning")}
        again = {**body, "messages": [*messages, {**echoed, name: message[name]}, result]}
        usage = tiny.post("/v1/chat/completions", json=again).json()["usage"]
        assert usage["prompt_tokens_details"]["cached_tokens"] >= 0.99 * (sent - 2)


def test_c36_a_prompt_that_does_not_fit(tiny):
    """Nothing is cut off: both sizes are told."""
    long = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "word " * 3000}]
    for stream in (False, True):
        response = tiny.post("/v1/chat/completions", json={"messages": long, "stream": stream})
        error = response.json()["error"]
        assert response.status_code == 400 and error["code"] == "context_length_exceeded"
        assert "fewer than 2048 tokens" in error["message"] and "found 30" in error["message"]


def test_c39_an_error_in_the_middle_of_a_stream(scripted):
    def fail() -> None:
        scripted.core.failing = RuntimeError("the text of a client")

    begun = scripted.core.forward

    def forward(*arguments, **keywords):
        if scripted.core.said == 3:
            fail()
        return begun(*arguments, **keywords)

    scripted.core.forward = forward
    try:
        text = scripted.post([*ids("abcdef"), END], stream=True).text
        assert scripted.post([*ids("abcdef"), END]).status_code == 500
    finally:
        scripted.core.forward, scripted.core.failing = begun, None
    *good, bad = [line for line in text.split("\n\n") if line]
    assert len(good) == 4 and "[DONE]" not in text
    error = json.loads(bad.removeprefix("data: "))["error"]
    assert error["type"] == "server_error" and "the text of a client" not in text
    assert scripted.say([*ids("yes"), END])["content"] == "yes"


def test_c40_silence_is_filled(scripted, monkeypatch):
    monkeypatch.setattr("qwen3edge.server.sse.KEEP_ALIVE_SECONDS", 0.02)
    begun, waiting = scripted.core.forward, threading.Event()

    def forward(*arguments, **keywords):
        waiting.wait(0.2)
        return begun(*arguments, **keywords)

    monkeypatch.setattr(scripted.core, "forward", forward)
    text = scripted.post([*ids("yes"), END], stream=True).text
    assert text.count(": keep-alive\n\n") > 3 and joined_chunks(text)[0][0]["message"]["content"] == "yes"


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"functions": []}, "functions"), ({"temperatur": 1}, "temperatur"), ({"web_search_options": {}}, None),
        ({"verbosity": "low"}, "verbosity"), ({"messages": "hi"}, "messages"), ({"stream": "yes"}, "stream"),
        ({"logit_bias": {"a": 1}}, "logit_bias"), ({"stream_options": {"x": 1}}, "stream_options.x"),
        ({"chat_template_kwargs": {"enable_thinking": 1}}, "chat_template_kwargs"),
    ],
)  # fmt: skip
def test_what_is_not_obeyed_is_refused_by_name(scripted, body, parameter):
    response = scripted.post([END], **body)
    error = response.json()["error"]
    assert response.status_code == 400 and error["type"] == "invalid_request_error"
    assert parameter is None or (error["param"] == parameter and parameter in error["message"])


@pytest.mark.parametrize(
    "body",
    [
        {"temperature": 101}, {"n": 0}, {"n": 129}, {"max_tokens": 0}, {"messages": []}, {"stop": [""]},
        {"tool_choice": "always"}, {"tools": [{"type": "function"}], "tool_choice": "required"}, {"top_logprobs": 21},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]},
        {"messages": [{"role": "bishop", "content": "hi"}]},
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_refused(scripted, body):
    response = scripted.post([END], **body)
    assert response.status_code == 400 and response.json()["error"]["message"].count("expected") >= 1


def test_what_cannot_change_the_answer_has_no_effect(scripted):
    ignored = {"user": "me", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "prompt_cache_key": "k"}
    assert scripted.say([*ids("yes"), END], **ignored, functions=None)["content"] == "yes"


ECHOED = {"id": "msg_1", "object": "x", "type": "message", "status": "completed", "refusal": None, "annotations": [],
          "audio": None, "function_call": None, "cache_control": {"type": "ephemeral"}, "prefix": False,
          "images": [], "metadata": {"a": "b"}}  # fmt: skip


def test_keys_of_messages_that_clients_echo_have_no_effect(scripted):
    plain = scripted.post([*ids("yes"), END], messages=HI).json()
    echoed = scripted.post([*ids("yes"), END], messages=[{**HI[0], **ECHOED}]).json()
    assert plain["usage"]["prompt_tokens"] == echoed["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prefix", True), ("partial", True), ("continue", True), ("audio", {"id": "audio_1"}), ("images", ["aGk="]),
        ("function_call", {"name": "f", "arguments": "{}"}),
    ],
)  # fmt: skip
def test_keys_of_messages_that_would_change_the_answer_are_refused_by_name(scripted, name, value):
    """What they say would silently be left out of the prompt."""
    messages = [*HI, {"role": "assistant", "content": "So", name: value}]
    for path in ("/v1/chat/completions", "/apply-template", "/api/chat"):
        response = scripted.client.post(path, json={"messages": messages})
        assert response.status_code == 400 and f"messages[1].{name}: expected none" in response.text


def test_a_part_of_another_type_is_named(scripted):
    content = [{"type": "text", "text": "hi"}, {"type": "input_audio", "input_audio": {}}]
    error = scripted.post([END], messages=[{"role": "user", "content": content}]).json()["error"]
    assert "messages[0].content[1]" in error["message"] and "input_audio" in error["message"]


def test_a_negative_seed_is_one(tiny):
    body = {"messages": HI, "temperature": 2, "max_tokens": 9, "seed": -1}
    first, again = (tiny.post("/v1/chat/completions", json=body).json()["choices"] for _ in range(2))
    assert first == again
