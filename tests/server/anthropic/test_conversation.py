"""What becomes of the blocks of a conversation."""

import pytest

from qwen3edge.server.anthropic.conversation import BILLING, conversation, functions
from qwen3edge.server.errors import BodyError
from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, ids
from tests.server.anthropic.asking import TOOLS, post

HI = {"role": "user", "content": "hi"}


def text(*texts):
    return [{"type": "text", "text": each, "cache_control": {"type": "ephemeral"}} for each in texts]


def test_system():
    assert conversation(None, [HI]) == conversation([], [HI]) == [HI]
    assert conversation("A", [HI]) == [{"role": "system", "content": "A"}, HI]
    assert conversation(text("A", "B"), [HI]) == [{"role": "system", "content": "A\nB"}, HI]


def test_c32_the_billing_header_is_left_out_and_nothing_else_is_moved(scripted):
    """What is random in each request of Claude Code would else keep the prompt out of the cache."""
    random = f"{BILLING} cc_version=2.1.36; cch=0a1b2"
    assert conversation(text(random, "A", "B"), [HI]) == conversation(text("A", "B"), [HI])
    assert conversation(text(f"see {random}", "A"), [HI])[0]["content"] == f"see {random}\nA"
    later = [HI, {"role": "assistant", "content": "yes"}, {"role": "system", "content": "99 tokens left"}, HI]
    assert conversation(text("A"), later) == [{"role": "system", "content": "A"}, *later]

    def cached(number):
        system = text(f"{BILLING} cch={number}", "You are an agent. " * 12)
        return post(scripted, [*ids("yes"), END], system=system).json()["usage"]["cache_read_input_tokens"]

    cached(1)
    assert cached(2) > 200


def test_the_blocks_of_an_assistant():
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "x"}, {"type": "redacted_thinking", "data": "abc"},
        *text("so "), {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo"}}, *text("yes"),
    ]  # fmt: skip
    call = {"type": "function", "id": "t1", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    assert conversation(None, [{"role": "assistant", "content": blocks}, HI])[0] == {
        "role": "assistant", "content": "so yes", "reasoning_content": "hm", "tool_calls": [call],
    }  # fmt: skip


def test_results_of_tools_keep_their_places():
    blocks = [
        {"type": "tool_result", "tool_use_id": "t1", "content": text("4", "5")},
        {"type": "tool_result", "tool_use_id": "t2", "content": "no such city", "is_error": True},
        {"type": "tool_result", "tool_use_id": "t3"}, *text("and", "now?"),
    ]  # fmt: skip
    assert conversation(None, [{"role": "user", "content": blocks}]) == [
        {"role": "tool", "tool_call_id": "t1", "content": "4\n5"},
        {"role": "tool", "tool_call_id": "t2", "content": "Error: no such city"},
        {"role": "tool", "tool_call_id": "t3", "content": ""},
        {"role": "user", "content": "and\nnow?"},
    ]


def test_c31_a_loop_of_tools_is_read_once(scripted):
    """What a client sends back of an answer, thoughts included, is what the model wrote: only the result is new."""
    said = [OPEN, *ids("hm"), CLOSE, CALL, *ids('{"name": "weather", "arguments": {"city": "Oslo"}}'), CALLED, END]
    think = {"thinking": {"type": "adaptive"}}
    asked = [{"role": "user", "content": "What is the weather like in Oslo? " * 4}]
    first = post(scripted, said, messages=asked, tools=TOOLS, **think).json()
    result = {"type": "tool_result", "tool_use_id": first["content"][-1]["id"], "content": "sunny"}
    again = [*asked, {"role": "assistant", "content": first["content"]}, {"role": "user", "content": [result]}]
    second = post(scripted, [*ids("It is sunny."), END], messages=again, tools=TOOLS, **think).json()
    prompt = first["usage"]["input_tokens"] + first["usage"]["cache_read_input_tokens"]
    assert second["usage"]["cache_read_input_tokens"] >= prompt // 64 * 64
    assert second["content"][0]["text"] == "It is sunny."


@pytest.mark.parametrize("kind", ["image", "document", "search_result", "server_tool_use", "container_upload", "x"])
def test_blocks_of_other_types_are_named(kind):
    block = {"type": kind, "source": {"type": "url", "url": "file:///etc/passwd"}}
    inside = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    for role, content in (("user", [*text("a"), block]), ("assistant", [*text("a"), block]), ("user", [inside])):
        with pytest.raises(BodyError, match=rf"messages\[0\].content\[\d\].*expected a block of type.*found '{kind}'"):
            conversation(None, [{"role": role, "content": content}, HI])
    with pytest.raises(BodyError, match=rf"system\[0\]: expected a block of type text, found '{kind}'"):
        conversation([block], [HI])


@pytest.mark.parametrize(
    ("message", "match"),
    [
        ({"role": "tool", "content": "x"}, "role as user, assistant or system, found 'tool'"),
        ({"role": "user"}, "content as a string or a list of blocks"),
        ({"role": "user", "content": ["x"]}, "content as a string or a list of blocks"),
        ({"role": "user", "content": [{"type": "text", "text": 1}]}, "text: expected a string, found int"),
        ({"role": "user", "content": [{"type": "tool_result", "content": "x"}]}, "tool_use_id: expected a string"),
        ({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": "{}"}]},
         "input: expected an object, found str"),
        ({"role": "assistant", "content": [{"type": "thinking"}]}, "thinking: expected a string, found none"),
    ],
)  # fmt: skip
def test_what_is_no_message(message, match):
    with pytest.raises(BodyError, match=match):
        conversation(None, [message, HI])


def test_an_answer_is_not_continued():
    with pytest.raises(BodyError, match="expected a message of the user at the end, found one of the assistant"):
        conversation(None, [HI, {"role": "assistant", "content": "So"}])


def test_what_is_to_be_done_to_a_conversation(scripted):
    """Nothing is: thoughts of earlier turns are in no prompt, and the rest is refused by name."""
    cleared = [None, {}, {"edits": []}, {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}]
    for management in cleared:
        assert post(scripted, [*ids("yes"), END], context_management=management).status_code == 200
    for kind in ("clear_tool_uses_20250919", "compact_20260112", None):
        for path in ("/v1/messages", "/v1/messages/count_tokens"):
            more = {} if path == "/v1/messages" else {"max_tokens": None, "temperature": None}
            refused = post(scripted, [END], path, context_management={"edits": [{"type": kind}]}, **more)
            assert refused.status_code == 400 and "context_management.edits[0]" in refused.json()["error"]["message"]


def test_functions():
    tool = {"type": "custom", "name": "now", "input_schema": {}, "strict": True, "cache_control": {}}
    assert functions([*TOOLS, tool, {"type": "bash_20250124", "name": "bash"}]) == (
        [
            {"type": "function", "function": {
                "name": "weather", "description": "of a city", "parameters": {"type": "object"}}},
            {"type": "function", "function": {"name": "now", "parameters": {}, "strict": True}},
        ],
        ["bash_20250124"],
    )  # fmt: skip
    for wrong, match in (
        ({"name": "x"}, "input_schema: expected an object"), ({"input_schema": {}}, "name: expected"),
        ({"name": "x", "input_schema": {}, "input_examples": [{}]}, "input_examples: expected none"),
    ):  # fmt: skip
        with pytest.raises(BodyError, match=rf"tools\[0\].{match}"):
            functions([wrong])
