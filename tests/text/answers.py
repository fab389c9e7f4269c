"""What is heard of an answer's tokens, of a vocabulary with the marks of thoughts and calls, or without."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from qwen3edge import _core
from tests.generation import fakes
from tests.generation.fakes import CALL, CALLED, OPEN, make_tokenizer
from tests.generation.fakes import CLOSE as THOUGHT
from tests.reference.byte_alphabet import BYTE_TO_CHAR
from tests.reference.tool_calls import CLOSE, Call
from tests.reference.tool_calls import OPEN as TAG

MARKED = make_tokenizer().bpe  # a token for each byte and for each mark
PLAIN = _core.Bpe(list(BYTE_TO_CHAR.values()), [1] * 256, [])  # and none for the marks
IDS = {"<think>": OPEN, "</think>": THOUGHT, TAG: CALL, CLOSE: CALLED}
HELLO = '{"name": "f", "arguments": {"a": 1}}'
NO_TOOLS: _core.Tools = {}


@dataclass
class Outcome:
    thoughts: str = ""
    content: str = ""
    calls: list[list[str]] = field(default_factory=list)  # name, arguments, "open", "complete" or "broken"
    problems: list[str] = field(default_factory=list)

    def add(self, pieces: Sequence[_core.Piece]) -> None:
        """Holds each call to the order of its events."""
        for text, what in pieces:
            if what == "begun":
                assert text and not self._open
                self.calls.append([text, "", "open"])
            elif what == "arguments":
                assert text and self._open
                self.calls[-1][1] += text
            elif what == "complete":
                assert not text and self._open
                self.calls[-1][2] = "complete"
            elif what == "broken":
                self.problems.append(text)
                if self._open:
                    self.calls[-1][2] = "broken"
            elif what:
                self.thoughts += text
            else:
                self.content += text

    @property
    def _open(self) -> bool:
        return bool(self.calls) and self.calls[-1][2] == "open"

    @property
    def read(self) -> list[Call]:
        return [Call(name, json.loads(text)) for name, text, state in self.calls if state == "complete"]


def said(bpe: _core.Bpe, tokens: Sequence[int], *, cut: bool = False, **settings) -> Outcome:
    text = _core.AnswerText(bpe, **{"tools": NO_TOOLS, **settings})
    outcome = Outcome()
    for token in tokens:
        outcome.add(text.push(token))
    outcome.add(text.finish(cut))
    assert text.tool_calls == len(outcome.read)
    return outcome


def marked(text: str) -> list[int]:
    """The tokens of a text in which every mark is one."""
    tokens: list[int] = []
    while text:
        first = min((text.find(mark) % (len(text) + 1), mark) for mark in IDS)
        tokens += fakes.ids(text[: first[0]])
        tokens += [IDS[first[1]]] if first[0] < len(text) else []
        text = text[first[0] + len(first[1]) :]
    return tokens


def answer(way: str, text: str, **settings) -> Outcome:
    """Of a vocabulary with the marks, or without."""
    return said(MARKED, marked(text), **settings) if way == "tokens" else said(PLAIN, fakes.ids(text), **settings)
