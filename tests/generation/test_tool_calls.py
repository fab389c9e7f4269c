"""Tool calls through the API: what an answer holds, how it ends, and what goes back into the next prompt."""

from __future__ import annotations

import asyncio
import json

import pytest

import qwen3edge
from qwen3edge.errors import RequestError
from qwen3edge.generation.answer import Answer
from qwen3edge.text.prompt import PromptBuilder
from qwen3edge.text.template import ChatTemplate
from qwen3edge.text.tokenizer import Tokenizer
from tests.generation.fakes import (
    ADDED,
    CALL,
    CALLED,
    CLOSE,
    END,
    OPEN,
    TEMPLATE,
    FakeCore,
    ids,
    make_session,
    metadata,
)  # fmt: skip
from tests.reference.byte_alphabet import BYTE_TO_CHAR

HI = [{"role": "user", "content": "hi"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]
BODY = '{"name": "weather", "arguments": {"city": "Köln"}}'
SAID = [CALL, *ids(BODY), CALLED]
XML = [
    CALL,
    *ids("<function=weather><parameter=city>\n12\n</parameter><parameter=days>\n12\n</parameter></function>"),
    CALLED,
]


def ask(script: list[int], **options) -> Answer:
    return make_session(FakeCore(script)).generate(HI, **{"tools": TOOLS, **options})


def found(answer: Answer) -> list[tuple[int, str, object, str]]:
    return [(call.index, call.name, call.parsed, call.state) for call in answer.tool_calls]


def test_calls_of_an_answer():
    answer = ask([*ids("Let me look.\n"), *SAID, *ids("\n"), *XML, END])
    assert answer.read() == "Let me look." and answer.finish_reason == "tool_calls"
    assert found(answer) == [
        (0, "weather", {"city": "Köln"}, "complete"),
        (1, "weather", {"city": "12", "days": 12}, "complete"),
    ]
    first, second = answer.tool_calls
    assert first.arguments == '{"city": "Köln"}' and first.id != second.id and first.id.startswith("call_")
    assert answer.message == {
        "role": "assistant",
        "content": "Let me look.",
        "tool_calls": [
            {"id": call.id, "type": "function", "function": {"name": "weather", "arguments": call.arguments}}
            for call in answer.tool_calls
        ],
    }


def check_pieces(pieces: list[qwen3edge.TextChunk]) -> None:
    """The name first, then the arguments as they come, then the end; C11: with one id throughout."""
    texts = [str(piece) for piece in pieces if piece.call is None]
    assert "".join(texts) == "hm" + "yes" and [piece.reasoning for piece in pieces[:2]] == [True, True]
    of_call = [piece for piece in pieces if piece.call]
    assert "".join(of_call) == '{"city": "Köln"}' and of_call[0] == of_call[-1] == "" and len(of_call) > 10
    assert len({piece.call.id for piece in of_call}) == 1 and not any(piece.reasoning for piece in of_call)


def test_pieces():
    script = [OPEN, *ids("hm\n"), *SAID, *ids("\nyes"), END]
    check_pieces(list(ask(script)))

    async def read() -> list[qwen3edge.TextChunk]:
        return [piece async for piece in ask(script)]

    check_pieces(asyncio.run(read()))


def test_a_call_grows_while_it_comes():
    answer = ask([OPEN, *SAID, END])
    seen = [(piece.call.name, piece.call.arguments, piece.call.state) for piece in answer if not answer.thinking]
    assert seen[0] == ("weather", "", "open") and seen[1] == ("weather", "{", "open")
    assert seen[-1] == ("weather", '{"city": "Köln"}', "complete")
    events = [piece.call_event for piece in ask([*ids("hm"), *SAID, END])]
    assert sorted(filter(None, set(events))) == ["arguments", "begun", "complete"] and events[-1] == "complete"
    assert events.index("begun") == events.count(None) and events.count("begun") == 1
    with pytest.raises(RequestError, match="expected a complete call of weather, found one that is open"):
        _ = next(ask([*SAID, END])).call.parsed


def test_what_an_answer_ends_with():
    """C10, C12: "tool_calls" only for calls that are there, and an end of the model's own."""
    cut = ask([*SAID[:-3], END], max_tokens=len(SAID) - 3)
    assert cut.read() == "" and (cut.finish_reason, cut.cut_by, cut.tool_calls) == ("length", "max_tokens", [])
    assert "tool_calls" not in cut.message
    last = list(ask([*SAID[:-3], END], max_tokens=len(SAID) - 3))[-1]
    assert all(piece.call is None for piece in ask([CALL, *ids("\n{")], max_tokens=3)), "it had no name yet"
    assert (last, last.call_event, last.call.state, last.call.arguments) == ("", "cut", "cut", '{"city": "Köln"')
    with pytest.raises(RequestError, match="expected a complete call of weather, found one that is cut"):
        _ = last.call.parsed
    cut = ask([*SAID, *ids("abc")], max_tokens=len(SAID) + 2)
    assert cut.read() == "ab" and (cut.finish_reason, len(cut.tool_calls)) == ("length", 1)
    stopped = ask([*SAID, *ids("a. b")], stop=".")
    assert stopped.read() == "a" and (stopped.finish_reason, len(stopped.tool_calls)) == ("stop", 1)
    broken = ask([CALL, *ids('{"name": "weather", "arguments": {]'), CALLED, END])
    assert broken.read() == '<tool_call>{"name": "weather", "arguments": {]</tool_call>'
    assert (broken.finish_reason, broken.tool_calls, broken.broken_calls) == ("stop", [], ["expected JSON"])
    unnamed = ask([CALL, *ids("{}"), CALLED, END])
    assert unnamed.read() == "<tool_call>{}</tool_call>" and unnamed.broken_calls == ["expected a name"]
    closed = ask([*SAID, *ids("a" * 200)])
    next(closed)
    closed.close()
    assert closed.finish_reason == "cancelled"


def test_a_call_in_thoughts():
    """C7, C18: it ends them, and their budget does not end it."""
    for budget in (None, 2, 5):
        answer = ask([OPEN, *ids("hm"), *SAID, CLOSE, *ids("\n\nyes"), END], thinking_budget=budget and budget + 1)
        assert answer.read() == "yes" and found(answer) == [(0, "weather", {"city": "Köln"}, "complete")]
        assert (answer.reasoning, answer.usage.reasoning_tokens, answer.tokens.count(CLOSE)) == ("hm", 2, 1)
        assert answer.message["reasoning_content"] == "hm"


def test_the_budget_counts_on_after_a_tag_that_is_no_call():
    answer = ask([OPEN, *ids("a"), CALL, *ids("bcdefgh"), END], thinking_budget=5)
    assert (answer.read(), answer.reasoning, answer.usage.reasoning_tokens) == ("efgh", "a<tool_call>bcd", 5)


def test_without_tools_and_by_choice():
    """C9: with "none" no call can begin."""
    text = f"<tool_call>{BODY}</tool_call>"
    assert ask([*SAID, END], tools=None).read() == ask([*SAID, END], tool_calls=False).read() == text
    assert found(ask_all([*SAID, END], tools=None, tool_calls=True)) == [(0, "weather", {"city": "Köln"}, "complete")]
    answer = ask_all([*SAID, END], tool_choice="none")
    assert CALL not in answer.tokens and answer.tool_calls == [] and answer.finish_reason == "stop"
    assert ask_all([*SAID, END], tool_choice="auto").finish_reason == "tool_calls"


def ask_all(script: list[int], **options) -> Answer:
    answer = ask(script, **options)
    answer.read()
    return answer


def test_what_is_refused():
    for wrong in ("weather", {"type": "function", "function": "weather"}, None, 5):
        with pytest.raises(RequestError, match="expected tool_choice as 'auto', 'none'"):
            ask([], tool_choice=wrong)
    with pytest.raises(RequestError, match="tool_calls"):
        ask([], tool_calls="yes")
    changes = {"tokens": [*BYTE_TO_CHAR.values(), *ADDED[:3]], "token_type": [1] * 256 + [3] * 3}
    builder = PromptBuilder(Tokenizer.from_metadata(metadata(**changes)), ChatTemplate(TEMPLATE))
    with pytest.raises(RequestError, match="tool_choice: expected <tool_call> in the vocabulary"):
        builder.call_token()


def test_tools_of_any_names():
    """What a template prints, the reader of calls takes as well."""
    for name in ("", "é", "\ud800", "a" * 1000):
        tools = [{"name": name, "parameters": {"properties": {name: {"type": "string"}}}}]
        assert ask_all([*SAID, END], tools=tools).finish_reason == "tool_calls"


ARGUMENTS = [{"city": "Köln"}, '{"city": "Köln"}']


@pytest.mark.parametrize("nothing", [None, {}, "", "{}", "null"])
def test_messages_with_calls(tiny_q3e, nothing):
    """Arguments as an object and as JSON, none at all, and what tools said; C14."""
    with qwen3edge.load(tiny_q3e("int8"), context=512, threads=1) as model:

        def tokens(function: dict) -> list[int]:
            call = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}
            return model.tokens_of([*HI, call, {"role": "tool", "content": "rain", "tool_call_id": "x"}], tools=TOOLS)

        assert tokens({"name": "f", "arguments": ARGUMENTS[0]}) == tokens({"name": "f", "arguments": ARGUMENTS[1]})
        assert tokens({"name": "f", "arguments": nothing}) == tokens({"name": "f"})


@pytest.mark.parametrize("thinking", [True, False])
def test_a_loop_with_the_tiny_model(tiny_q3e, thinking):
    """The next prompt repeats the answer token by token (C31), so that nothing is computed twice but its end."""
    tool = {"name": "get_weather", "description": "Get the weather of a city", "parameters": PARAMETERS}
    options = {"tools": [{"type": "function", "function": tool}], "thinking": thinking, "temperature": 0}
    with qwen3edge.load(tiny_q3e("bf16"), context=1024, threads=1) as model:
        messages = [{"role": "user", "content": "What is the weather in Prague?"}]
        answer = model.generate(messages, **options)
        assert answer.read() == "" and answer.finish_reason == "tool_calls"
        assert [(call.name, call.parsed) for call in answer.tool_calls] == [("get_weather", {"city": "Prague"})]
        before = [*model.tokens_of(messages, **{k: options[k] for k in ("tools", "thinking")}), *answer.tokens]
        messages += [answer.message, {"role": "tool", "content": json.dumps({"city": "Prague", "sky": "foggy"})}]
        after = model.tokens_of(messages, **{k: options[k] for k in ("tools", "thinking")})
        if thinking:  # else the template leaves out the empty thoughts that it began the answer with
            assert after[: len(before)] == before
        last = model.generate(messages, **options)
        assert "foggy" in last.read() and last.finish_reason == "stop" and last.tool_calls == []
