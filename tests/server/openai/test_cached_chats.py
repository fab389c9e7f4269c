"""What a chat need not compute again, as its `cached_tokens` tell."""

import json

import pytest

CHAT = "/v1/chat/completions"
SYSTEM = {"role": "system", "content": "You are a helpful assistant of a shop. " * 12}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}}]  # fmt: skip
LOST = 4
"""At most so many tokens are computed again: the last one, and those whose text the end of the prompt has changed."""


def chat(client, messages, **body):
    """The message, tokens of the prompt, and how many of them were cached."""
    found = client.post(CHAT, json={"messages": messages, "temperature": 0, "max_tokens": 200, **body}).json()
    usage = found["usage"]
    return found["choices"][0]["message"], usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]


def test_c29_other_requests_between_the_turns(tiny):
    """Of a client that asks for a title and for tags after each turn: they take no slot from the chat."""
    talk = [SYSTEM, {"role": "user", "content": "What is 12 + 7?"}]
    for question in ("What is 35 + 4?", "What is 47 + 38?", "Count from 3 to 9."):
        message, computed, _ = chat(tiny, talk, enable_thinking=False)
        for task in ("Give this chat a title. ", "Give this chat three tags. ", "Ask what comes next. "):
            chat(tiny, [{"role": "user", "content": task * 20 + json.dumps(talk)}], enable_thinking=False)
        talk += [{"role": "assistant", "content": message["content"]}, {"role": "user", "content": question}]
        _, _, cached = chat(tiny, talk, enable_thinking=False)
        assert cached >= computed - LOST > 100


def test_c31_thoughts_that_the_template_leaves_out(tiny):
    """At the next question only the answer is read again, without them: all before it is there. The client may send the
    thoughts back or not."""
    for question, fields in (("What is 47 + 38?", ("reasoning_content",)), ("What is 12 + 7?", ())):
        talk = [SYSTEM, {"role": "user", "content": question}]
        message, computed, _ = chat(tiny, talk)
        assert message["reasoning"]
        echoed = {name: message[name] for name in ("role", "content", *fields)}
        talk += [echoed, {"role": "user", "content": "What is 35 + 4?"}]
        _, prompt, cached = chat(tiny, talk)
        assert computed - LOST <= cached < prompt


@pytest.mark.parametrize("way", ["without thoughts", "other JSON", "other text"])
def test_c31_a_tool_loop_that_sends_something_else(tiny, way):
    """Thoughts that the client does not send back, arguments that it has written anew, a text that was changed: what
    stands before that is not read again, and the answer is one to what was sent."""
    talk = [SYSTEM, {"role": "user", "content": f"What is the weather in Prague? ({way})"}]
    message, computed, _ = chat(tiny, talk, tools=TOOLS, tool_choice="required")
    (call,) = message["tool_calls"]
    sent = {name: value for name, value in message.items() if not name.startswith("reasoning")}
    if way == "other JSON":
        sent["reasoning_content"] = message["reasoning_content"]
        arguments = json.dumps(json.loads(call["function"]["arguments"]), indent=3)
        sent["tool_calls"] = [{**call, "function": {**call["function"], "arguments": arguments}}]
    if way == "other text":
        sent |= {"content": "Let me see.", "reasoning_content": message["reasoning_content"]}
    result = {"role": "tool", "tool_call_id": call["id"], "content": '{"sky": "foggy"}'}
    _, prompt, cached = chat(tiny, [*talk, sent, result], tools=TOOLS)
    assert computed - LOST <= cached < prompt
    again, _, cached = chat(tiny, [*talk, sent, result], tools=TOOLS)
    assert cached == prompt - 1 and again["content"] is not None
