"""Conversations as programs hold them with a model, which answers each request itself."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.sessions.ledger import Asked, Ledger, Message

ANSWER = 100  # tokens at most
LENGTHS = 8
SYSTEM = (
    "You are a helpful assistant on a small device. You answer in one or two sentences, you do not repeat the "
    "question, and you say so when you do not know something. Numbers are written in digits, units are metric, and "
    "lists have one item in a line. When a user asks for JSON you write nothing but the JSON."
)
QUESTIONS = (
    "What is 12 + 7?",
    "Names and cities: Anna lives in Prague, Karl lives in Lisbon, Mia lives in Oslo. Where does Karl live?",
    "Count from 3 to 9.",
    "What is 35 + 4?",
    'Write {"name": "Anna", "city": "Prague"} once more, with the city Delhi.',
    "Which is larger, 47 or 38?",
)
TITLE = "Write a title of three words for this chat:\n"
CITIES = ("Prague", "Delhi")  # more is more than the tiny model can keep apart
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def system(text: str = SYSTEM) -> Message:
    return {"role": "system", "content": text}


def said(asked: Asked) -> Message:
    """The answer as the conversation keeps it, thoughts included: the template drops those of earlier turns."""
    message = {"role": "assistant", "content": asked.answer.content}
    return message | ({"reasoning_content": asked.answer.reasoning} if asked.answer.reasoning else {})


def said_with_calls(asked: Asked) -> Message:
    """The same with the calls beside the content, as OpenAI's API has them."""
    return asked.answer.message


def said_without_thoughts(asked: Asked) -> Message:
    return {"role": "assistant", "content": asked.answer.content}


def chat(
    ledger: Ledger, questions: tuple[str, ...] = QUESTIONS, first: Message | None = None, **options: Any
) -> list[Asked]:
    """A question a turn."""
    messages = [first or system()]
    turns: list[Asked] = []
    for question in questions:
        messages.append(user(question))
        turns.append(ledger.ask(messages, turns[-1] if turns else None, **options))
        messages.append(said(turns[-1]))
    return turns


def tool_loop(ledger: Ledger, sent_back: Callable[[Asked], Message], **options: Any) -> None:
    """Questions that take a call; the result is this program's, whatever the model called."""
    messages: list[Message] = []
    options = {**options, "tools": [WEATHER], "tool_calls": sent_back is said_with_calls}
    for degrees, city in enumerate(CITIES, 11):
        messages.append(user(f"What is the weather in {city}?"))
        call = ledger.ask(messages, **options)
        result = json.dumps({"city": city, "temperature": degrees, "sky": "cloudy"})
        messages += [sent_back(call), {"role": "tool", "content": result}]
        messages.append(sent_back(ledger.ask(messages, call, **options)))


def regenerate(ledger: Ledger, **options: Any) -> None:
    """The last question of a chat three times more."""
    last = chat(ledger, **options)[-1]
    for _ in range(3):
        ledger.ask(last.messages, **options)


def edit(ledger: Ledger, **options: Any) -> None:
    """The question of the second turn in other words, and the chat goes on from there."""
    turns = chat(ledger, **options)
    messages = [*turns[1].messages[:-1], user(QUESTIONS[1].replace("Karl live?", "Mia live?"))]
    last = ledger.ask(messages, turns[0], **options)
    ledger.ask([*messages, said(last), user(QUESTIONS[3])], last, **options)


def two_chats(ledger: Ledger, **options: Any) -> None:
    """Turn by turn, with one system prompt."""
    orders = (QUESTIONS, QUESTIONS[::-1])
    chats: list[list[Message]] = [[system()] for _ in orders]
    last: list[Asked | None] = [None for _ in orders]
    for turn in range(len(QUESTIONS)):
        for i, messages in enumerate(chats):
            messages.append(user(orders[i][turn]))
            asked = last[i] = ledger.ask(messages, last[i], **options)
            messages.append(said(asked))


def title_between(ledger: Ledger, **options: Any) -> None:
    """After each turn somebody asks for a title of what was said, in a chat of its own."""
    messages = [system()]
    last = None
    for question in QUESTIONS:
        messages.append(user(question))
        last = ledger.ask(messages, last, **options)
        messages.append(said(last))
        text = "\n".join(f"{message['role']}: {message['content']}" for message in messages[1:])
        ledger.ask([user(TITLE + text)], **options)


def stopped(ledger: Ledger, **options: Any) -> None:
    """Each answer is stopped by its user after some pieces, who then asks something else."""
    messages = [system()]
    last = None
    for question in QUESTIONS:
        messages.append(user(question))
        last = ledger.start(messages, last, **options)
        for _, _piece in zip(range(4), last.answer, strict=False):
            pass
        last.answer.close()
        messages.append(said(last))


def of_several_lengths(scene: Callable[..., None], ledger: Ledger, **options: Any) -> None:
    """The scene with system prompts that differ from their first words on, so that texts part anywhere in a page."""
    for number in range(LENGTHS):
        scene(ledger, system(f"Chat {number + 1}. {' '.join(SYSTEM.split()[: 20 + 3 * number])}"), **options)


def at_once(ledger: Ledger, first: Message, **options: Any) -> None:
    """All questions at the same time, with one system prompt, as programs do that work through a list."""
    read_in_turns([ledger.start([first, user(question)], **options) for question in QUESTIONS])


def several_answers(ledger: Ledger, first: Message, **options: Any) -> None:
    """Three more answers to a prompt whose first one is still being written."""
    messages = [first, user(QUESTIONS[2])]
    running = ledger.start(messages, **options)
    next(running.answer)
    read_in_turns([running, *(ledger.start(messages, **options) for _ in range(3))])


def beside(ledger: Ledger, first: Message, **options: Any) -> None:
    """Another question to a chat whose last answer is still being written."""
    before = chat(ledger, QUESTIONS[:2], first, **options)[-1]
    messages = [*before.messages, said(before), user(QUESTIONS[3])]
    running = ledger.start(messages, before, **options)
    next(running.answer)
    read_in_turns([running, ledger.start([*messages[:-1], user(QUESTIONS[4])], before, **options)])


def saved(ledger: Ledger, **options: Any) -> None:
    """After each turn the conversation goes into a file, and what was computed is forgotten, as between two starts."""
    messages = [system()]
    last, session = None, ledger.model.session()
    with tempfile.TemporaryDirectory() as folder:
        for question in QUESTIONS:
            messages.append(user(question))
            last = ledger.ask(messages, last, session, **options)
            messages.append(said(last))
            session.save(Path(folder) / "saved")
            ledger.forget()
            session = ledger.model.load_session(Path(folder) / "saved")


def read_in_turns(several: list[Asked]) -> None:
    """A piece of each, until all have ended."""
    while any(asked.answer.finish_reason is None for asked in several):
        for asked in several:
            next(asked.answer, None)


@dataclass(frozen=True)
class Scene:
    """thinking: it needs a model that can. loop: all of the last request, its answer too, is to be found again. This is
    not asked of a tool loop without thoughts: the prompt ends in empty ones, which the template leaves out of the turn
    when it is a part of the next prompt, so that the two part there, and the call behind them has to be computed again.
    """

    name: str
    hold: Callable[..., object]
    thinking: bool = False
    loop: bool = False
    sent_back: Callable[[Asked], Message] | None = None

    def play(self, ledger: Ledger) -> None:
        options: dict[str, Any] = {"max_tokens": ANSWER, "thinking": self.thinking}
        options |= {"seed": 1} if self.thinking else {"temperature": 0}
        if self.sent_back:
            options["sent_back"] = self.sent_back
        self.hold(ledger, **options)


SCENES = (
    Scene("chat", chat),
    Scene("chat that thinks", chat, thinking=True),
    Scene("tool loop that thinks", tool_loop, thinking=True, loop=True, sent_back=said),
    Scene("the same, calls parsed", tool_loop, thinking=True, loop=True, sent_back=said_with_calls),
    Scene("the same, thoughts not sent back", tool_loop, thinking=True, sent_back=said_without_thoughts),
    Scene("tool loop that does not think", tool_loop, sent_back=said_with_calls),
    Scene("regenerate", regenerate),
    Scene("edit of an earlier turn", edit),
    Scene("two chats with one system prompt", two_chats),
    Scene("a title between turns", title_between),
    Scene("answers that are stopped", stopped),
    Scene("a chat in a file between turns", saved),
    Scene("six questions at once", partial(of_several_lengths, at_once)),
    Scene("four answers to one prompt", partial(of_several_lengths, several_answers)),
    Scene("another question while the last answer runs", partial(of_several_lengths, beside)),
)
