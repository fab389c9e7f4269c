"""What happens to the answers to a request, one after the other: what every adapter writes in its API's own form."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass, replace
from typing import Literal

from qwen3edge.generation.answer import TokenLogprob, Usage


@dataclass(frozen=True)
class Event:
    """choice: which of the request's answers, from 0."""

    choice: int


@dataclass(frozen=True)
class Started(Event):
    """The first of an answer: the request is valid and waits for its turn, or runs."""

    prompt_tokens: int


@dataclass(frozen=True)
class ReasoningDelta(Event):
    """A piece of its thoughts."""

    text: str


@dataclass(frozen=True)
class ContentDelta(Event):
    """A piece of its content."""

    text: str


@dataclass(frozen=True)
class CallBegun(Event):
    """A tool call whose name is known. index: in the order of the answer."""

    index: int
    id: str
    name: str


@dataclass(frozen=True)
class ArgumentsDelta(Event):
    """A piece of the JSON of a call's arguments."""

    index: int
    text: str


@dataclass(frozen=True)
class CallEnded(Event):
    """arguments: all of them, an object if the call is complete. Broken: it was none, and its text follows as content
    or as thoughts; cut: the answer ended within it.
    """

    index: int
    id: str
    name: str
    arguments: str
    state: Literal["complete", "broken", "cut"]


@dataclass(frozen=True)
class Logprobs(Event):
    """Of tokens whose text the next events have, or none: control tokens are among them. If they were asked for."""

    tokens: tuple[TokenLogprob, ...]


@dataclass(frozen=True)
class PromptLogprobs(Event):
    """Of the prompt's tokens from the second on, before all else of its answer, if they were asked for."""

    tokens: tuple[TokenLogprob, ...]


@dataclass(frozen=True)
class Finished(Event):
    """The last of an answer. reason: "tool_calls" if it ended by itself and has complete ones. cut_by: of "length".
    stop_string: that ended it, if one did. broken_calls: how many tool calls were none, and stayed text.
    """

    reason: Literal["stop", "tool_calls", "length"]
    cut_by: Literal["max_tokens", "context"] | None
    usage: Usage
    stop_string: str | None = None
    broken_calls: int = 0


@dataclass(frozen=True)
class Failed(Event):
    """The last of all answers: what went wrong after they had begun."""

    error: Exception


async def whole_calls(events: AsyncGenerator[Event, None], eager: Collection[str] = ()) -> AsyncGenerator[Event, None]:
    """The same events, but for calls: of each that is complete its three events at once, numbered from 0; of others
    none. So nobody is shown the beginning of a call that is none after all. Closing it closes the events.

    eager: names of tools whose calls are told as they come, for clients that cope with one that breaks off.
    """
    complete: dict[int, int] = {}  # by choice
    begun: set[int] = set()  # choices within a call that is told as it comes
    try:
        async for event in events:
            if isinstance(event, CallBegun) and event.name in eager:
                begun.add(event.choice)
            if isinstance(event, CallBegun | ArgumentsDelta | CallEnded) and event.choice in begun:
                number = complete.get(event.choice, 0)
                yield replace(event, index=number)
                if isinstance(event, CallEnded):
                    begun.remove(event.choice)
                    complete[event.choice] = number + 1
            elif isinstance(event, CallEnded) and event.state == "complete":
                number = complete.get(event.choice, 0)
                complete[event.choice] = number + 1
                yield CallBegun(event.choice, number, event.id, event.name)
                yield ArgumentsDelta(event.choice, number, event.arguments)
                yield replace(event, index=number)
            elif not isinstance(event, CallBegun | ArgumentsDelta | CallEnded):
                yield event
    finally:
        await events.aclose()
