"""Events of answers: calls as they come, and whole."""

import asyncio
import json

from qwen3edge.server.answering import Answers
from qwen3edge.server.events import (
    ArgumentsDelta,
    CallBegun,
    CallEnded,
    ContentDelta,
    Finished,
    ReasoningDelta,
    Started,
    whole_calls,
)
from qwen3edge.server.request import AnswerRequest
from tests.generation.fakes import CALL, CALLED, CLOSE, END, OPEN, ids
from tests.server.scripted import HI, TOOLS

BODY = '{"name": "weather", "arguments": {"city": "Oslo"}}'
SAID = [CALL, *ids(BODY), CALLED]
BROKEN = [CALL, *ids('{"name": "weather", "arguments": {]'), CALLED]


def events(scripted, script, whole=False, eager=(), **options):
    scripted.core.script, scripted.core.said = script, 0

    async def read():
        request = AnswerRequest(None, HI, {"tools": TOOLS, "temperature": 0, **options})
        answers = await Answers.begin(scripted.models, request)
        found = answers.events()
        try:
            return [event async for event in (whole_calls(found, eager) if whole else found)]
        finally:
            await answers.aclose()

    return asyncio.run(read())


def test_every_event_in_its_place(scripted):
    found = events(scripted, [OPEN, *ids("hm"), CLOSE, *ids("so "), *SAID, END])
    kinds = [type(event) for event in found]
    order = [Started, ReasoningDelta, ContentDelta, CallBegun, ArgumentsDelta, CallEnded, Finished]
    assert [kind for i, kind in enumerate(kinds) if kind is not kinds[i - 1]] == order
    begun, ended = (next(event for event in found if isinstance(event, kind)) for kind in (CallBegun, CallEnded))
    arguments = "".join(event.text for event in found if isinstance(event, ArgumentsDelta))
    assert (begun.index, begun.name, begun.id) == (0, "weather", ended.id)
    assert arguments == ended.arguments == '{"city": "Oslo"}' and ended.state == "complete"
    assert kinds.count(ArgumentsDelta) > 5 and found[-1].reason == "tool_calls"
    assert found[0].prompt_tokens == found[-1].usage.prompt_tokens > 0


def test_how_calls_end(scripted):
    found = events(scripted, [*BROKEN, *SAID, *SAID], max_tokens=len(BROKEN) + 2 * len(SAID) - 3)
    assert [(event.index, event.state) for event in found if isinstance(event, CallEnded)] == [
        (0, "broken"), (1, "complete"), (2, "cut"),
    ]  # fmt: skip
    assert found[-1].reason == "length" and found[-1].cut_by == "max_tokens"


def test_whole_calls(scripted):
    found = events(scripted, [*BROKEN, *SAID, *SAID], whole=True, max_tokens=len(BROKEN) + 2 * len(SAID) - 3)
    calls = [event for event in found if isinstance(event, CallBegun | ArgumentsDelta | CallEnded)]
    assert [(type(event), event.index) for event in calls] == [(CallBegun, 0), (ArgumentsDelta, 0), (CallEnded, 0)]
    assert json.loads(calls[1].text) == {"city": "Oslo"}
    text = "".join(event.text for event in found if isinstance(event, ContentDelta))
    assert text.startswith("<tool_call>") and text.endswith("</tool_call>")
    assert found[-1].broken_calls == 1  # and the cut one is what "length" says


def test_calls_that_come_as_they_are_written(scripted):
    """For clients that cope with one that breaks off: its end says so, and its text follows."""
    found = events(scripted, [*BROKEN, *SAID, END], whole=True, eager={"weather"})
    kinds = [type(event) for event in found if isinstance(event, CallBegun | ArgumentsDelta | CallEnded)]
    assert kinds.count(CallBegun) == kinds.count(CallEnded) == 2 and kinds.count(ArgumentsDelta) > 10
    ends = [event for event in found if isinstance(event, CallEnded)]
    assert [(end.index, end.state) for end in ends] == [(0, "broken"), (1, "complete")]
    parts = [event.text for event in found if isinstance(event, ArgumentsDelta) and event.index == 1]
    assert json.loads("".join(parts)) == {"city": "Oslo"} and found[-1].broken_calls == 1
    held = events(scripted, [*BROKEN, *SAID, END], whole=True, eager={"other"})
    assert len([event for event in held if isinstance(event, CallBegun)]) == 1
