"""Items of a response's input, as messages."""

import pytest

from qwen3edge.server.errors import BodyError
from qwen3edge.server.openai.response_input import messages_of


def said(messages):
    """Parts joined."""
    return [
        {name: "".join(part["text"] for part in value) if name == "content" else value for name, value in each.items()}
        for each in messages
    ]


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def test_a_text():
    assert said(messages_of(None, "hi")) == [{"role": "user", "content": "hi"}]
    assert said(messages_of("Be brief.", "hi"))[0] == {"role": "system", "content": "Be brief."}


def test_instructions_and_leading_messages_are_one():
    """As templates have one place for a system's message; a later one keeps its place (C15)."""
    items = [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "B"}]},
        {"role": "system", "content": "C"},
        {"role": "user", "content": "hi"},
        {"role": "developer", "content": "D"},
    ]
    assert said(messages_of("A", items)) == [
        {"role": "system", "content": "A\n\nB\n\nC"},
        {"role": "user", "content": "hi"},
        {"role": "developer", "content": "D"},
    ]
    assert said(messages_of(None, items))[0]["content"] == "B\n\nC"


def test_a_turn_of_the_assistants_is_one_message():
    items = [
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {
            "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "so", "annotations": [], "logprobs": []}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}", "status": "completed"},
        {"type": "function_call_output", "call_id": "call_1", "output": "1"},
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "2"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "ah"}], "encrypted_content": None},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "assistant", "content": "well"},
    ]  # fmt: skip
    assert said(messages_of(None, items)) == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "reasoning_content": "hm", "content": "so", "tool_calls": [CALL, CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
        {"role": "tool", "tool_call_id": "call_1", "content": "2"},
        {"role": "assistant", "reasoning_content": "ah", "tool_calls": [CALL]},
        {"role": "assistant", "content": "no"},
        {"role": "assistant", "content": "well"},
    ]


def test_thoughts_that_only_others_can_read_are_left_out():
    items = [{"type": "reasoning", "summary": [], "encrypted_content": "x"}, {"role": "user", "content": "hi"}]
    assert said(messages_of(None, items)) == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"type": "item_reference", "id": "msg_1"}, "item of type message.*item_reference"),
        ({"type": "web_search_call"}, "web_search_call"),
        ({"id": "x"}, r"input\[0\]: expected an item of type message"),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "file:///etc/passwd"}]},
            r"input\[0\].content\[0\]: .*input_image",
        ),
        ({"role": "user"}, r"input\[0\].content: expected a string or a list"),
        ({"role": "user", "content": [{"type": "input_text", "text": 1}]}, "content.*text: expected a string"),
        ({"type": "function_call", "call_id": "a", "name": "f"}, "arguments: expected a string"),
        ({"type": "function_call_output", "output": "x"}, "call_id: expected a string"),
        ({"type": "reasoning", "summary": [7]}, "expected a part of type"),
        ({"type": ["message"]}, "expected an item"),
    ],
)
def test_what_is_refused(item, said):
    with pytest.raises(BodyError, match=said):
        messages_of(None, [item])
