"""Thinking budgets over held-out prompts of a model that was trained to think, and what it said cut in other pieces.

The slow ones, `python -m pytest -s -m slow tests/generation/test_budget_corpus.py`, print what they counted.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

import qwen3edge
from qwen3edge import _core
from qwen3edge.generation.answer import Answer
from qwen3edge.text.tools import declared_types
from tests.reference.byte_alphabet import BYTE_TO_CHAR, from_bytes
from tests.reference.chats import Record, read_records
from tests.text.answers import Outcome, said

BUDGETS = (0, 1, 8, 32, None)
STYLES = ({"temperature": 0.0}, {"temperature": 0.6}, {"temperature": 1.5, "top_k": 0, "top_p": 1.0})
TOGETHER = 16
MOST = 100  # tokens of an answer
MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4


@pytest.fixture(scope="module")
def model(tiny_int4):
    with qwen3edge.load(tiny_int4, context=512, threads=2, sequences=TOGETHER) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def records(tiny_model_path: Path) -> list[Record]:
    """Of all tasks in turns; a mode of thinking is not asked for by them, but by each test."""
    found = read_records(tiny_model_path / "heldout.jsonl")
    random.Random(3).shuffle(found)
    return found


@dataclass(frozen=True)
class Said:
    answer: Answer
    pieces: list[str]  # of the content and the thoughts, as they came
    record: Record


def answers(model: qwen3edge.Model, records: list[Record], **options) -> list[Said]:
    """Some together, each read piece by piece; the seed is the record's place."""
    found = []
    for start in range(0, len(records), TOGETHER):
        batch = [
            (record, model.generate(record["messages"], tools=record.get("tools"), seed=number, **options))
            for number, record in enumerate(records[start : start + TOGETHER], start)
        ]
        found += [
            Said(answer, [str(piece) for piece in answer if piece.call is None], record) for record, answer in batch
        ]
    return found


def thoughts_of(model: qwen3edge.Model, tokens: list[int]) -> int | None:
    """How many of the tokens are thoughts, by the marks where a part begins; None where a call stands among them."""
    opened, closed, *of_calls = map(model.tokenizer.token_id, MARKS)
    count, inside, behind = 0, False, b""  # behind: what stands in the part so far
    for token in tokens:
        begins = not behind.strip(b" \t\r\n")
        if (token == opened and begins) or (token == closed and (inside or begins)):
            inside, behind = token == opened, b""
            continue
        if inside and token in of_calls:
            return None
        count += inside
        behind += b"" if model.tokenizer.is_control(token) else model.tokenizer.token_bytes(token)
    return count


def check_budgets(model: qwen3edge.Model, records: list[Record]) -> Counter:
    counts: Counter = Counter()
    for style in STYLES:
        for budget in BUDGETS:
            for each in answers(model, records, thinking=True, thinking_budget=budget, max_tokens=MOST, **style):
                answer, usage, tools = each.answer, each.answer.usage, each.record.get("tools")
                prompt = model.tokens_of(each.record["messages"], thinking=True, tools=tools)
                ended = len(answer.tokens) - (
                    answer.finish_reason in ("stop", "tool_calls")
                )  # by a token that is no text
                thoughts = thoughts_of(model, answer.tokens[:ended])
                assert budget is None or usage.reasoning_tokens <= budget or answer.broken_calls
                assert thoughts in (None, usage.reasoning_tokens)
                assert usage.prompt_tokens == len(prompt) and usage.cached_tokens < len(prompt)
                assert usage.completion_tokens == len(answer.tokens)
                content = answer.content
                assert not content.lstrip().startswith(("</think>", "<think>")) and not content.startswith("\n")
                whole = said(
                    model.tokenizer.bpe, answer.tokens, tools=declared_types(tools) if tools else None,
                    cut=answer.finish_reason == "length",
                )  # fmt: skip
                assert (content, answer.reasoning) == (whole.content, whole.thoughts)
                assert "".join(each.pieces) == "".join(p for p in (answer.reasoning, content))
                counts["answers"] += 1
                counts[f"most thoughts of budget {budget}"] = max(
                    counts[f"most thoughts of budget {budget}"], usage.reasoning_tokens
                )
                counts["ended by the budget"] += usage.reasoning_tokens == budget
                counts["with thoughts"] += usage.reasoning_tokens > 0
                counts["tokens"] += len(answer.tokens)
                counts["compared by marks"] += thoughts is not None
                counts["more by a broken call"] += budget is not None and usage.reasoning_tokens > budget
                counts["marks in a part"] += "think>" in content + answer.reasoning
    return counts


def test_budgets(model, records):
    counts = check_budgets(model, records[:8])
    assert counts["ended by the budget"] > 20 and counts["with thoughts"] > 40


@pytest.mark.slow
def test_budgets_on_three_hundred_prompts(model, records):
    counts = check_budgets(model, records[:300])
    print(f"\nbudgets {BUDGETS} on 300 prompts, {len(STYLES)} ways of sampling: {dict(counts)}")
    assert counts["ended by the budget"] > 2000


@dataclass(frozen=True)
class Recording:
    tokens: list[int]
    tools: _core.Tools | None
    cut: bool

    @classmethod
    def of(cls, each: Said) -> Recording:
        tools = each.record.get("tools")
        return cls(each.answer.tokens, declared_types(tools) if tools else None, each.answer.finish_reason == "length")


def recordings(model: qwen3edge.Model, records: list[Record], count: int) -> list[Recording]:
    """Thoughts with and without an end, calls, and, of a temperature that leaves nothing as it was trained, tokens of
    any kind, halves of characters among them.
    """
    calling = [record for record in records if record["judge"] == "tool_call"]
    ways = [
        (records, {"thinking": True, "temperature": 0.0}),
        (records, {"thinking": True, "thinking_budget": 5, "temperature": 0.6}),
        (records, {"thinking": False, "temperature": 4.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "max_tokens": 40}),
        (calling, {"thinking": True, "temperature": 0.0}),
        (calling, {"thinking": False, "temperature": 1.5, "top_k": 0, "top_p": 1.0}),
    ]
    each = count // len(ways)
    return [
        Recording.of(one)
        for some, options in ways
        for one in answers(model, some[:each], **{"max_tokens": MOST, **options})
    ]


class Pieces:
    """A recorded answer in a vocabulary of its own, in which any part of its text may be a token."""

    def __init__(self, model: qwen3edge.Model, recording: Recording) -> None:
        """parts: marks and control tokens by name, and the text between them as bytes."""
        self.recording = recording
        tokenizer = model.tokenizer
        alone = {token: name for name in MARKS if (token := tokenizer.token_id(name)) is not None}
        self.parts: list[bytes | str] = []
        for token in recording.tokens:
            data = bytes(tokenizer.token_bytes(token))
            if token in alone or tokenizer.is_control(token):
                self.parts.append(alone.get(token) or data.decode())
            elif self.parts and isinstance(self.parts[-1], bytes):
                self.parts[-1] += data
            else:
                self.parts.append(data)
        texts = {bytes([byte]): None for byte in BYTE_TO_CHAR}
        for part in self.parts:
            if isinstance(part, bytes):
                texts |= dict.fromkeys(
                    [part[:at] for at in range(1, len(part))] + [part[at:] for at in range(len(part))]
                )
        names = dict.fromkeys(part for part in self.parts if isinstance(part, str))
        self._ids = {text: number for number, text in enumerate([*filter(None, texts), *names])}
        kinds = [
            NORMAL if isinstance(text, bytes) else USER_DEFINED if text in MARKS else CONTROL for text in self._ids
        ]
        stored = [from_bytes(text) if isinstance(text, bytes) else text for text in self._ids]
        self._bpe = _core.Bpe(stored, kinds, [])

    def heard(self, parts: list[bytes | str], stops: list[str]) -> Outcome:
        tokens = [self._ids[part] for part in parts if part != b""]
        return said(self._bpe, tokens, tools=self.recording.tools, cut=self.recording.cut, stops=stops)

    def byte_by_byte(self) -> list[bytes | str]:
        return [one for part in self.parts for one in ([part] if isinstance(part, str) else [bytes([b]) for b in part])]

    def cut_once(self) -> list[list[bytes | str]]:
        """All ways to cut one of the texts in two."""
        return [
            [*self.parts[:number], part[:at], part[at:], *self.parts[number + 1 :]]
            for number, part in enumerate(self.parts)
            if isinstance(part, bytes)
            for at in range(1, len(part))
        ]


def check_chunkings(model: qwen3edge.Model, made: list[Recording]) -> Counter:
    """Every recording token by token, byte by byte, whole, and cut once at every byte, also behind every token; with a
    stop string in it, and without.
    """
    counts: Counter = Counter()
    bpe = model.tokenizer.bpe
    for recording in made:
        pieces, settings = Pieces(model, recording), {"tools": recording.tools, "cut": recording.cut}
        whole = said(bpe, recording.tokens, **settings)
        middle = len(whole.content) // 2
        for stops in ([], [whole.content[middle : middle + 3]] if whole.content[middle : middle + 3] else ["\n"]):
            expected = said(bpe, recording.tokens, stops=stops, **settings)
            for cutting in (pieces.parts, pieces.byte_by_byte(), *pieces.cut_once()):
                assert pieces.heard(cutting, stops) == expected, (cutting, stops)
                counts["chunkings"] += 1
        counts["answers"] += 1
        counts["bytes"] += len(pieces.byte_by_byte())
        counts["tokens"] += len(recording.tokens)
        counts["with thoughts"] += bool(whole.thoughts)
        counts["with calls"] += bool(whole.calls)
        counts["with content"] += bool(whole.content)
        counts["with broken calls or characters"] += bool(whole.problems) or "\ufffd" in whole.content
    return counts


def test_chunkings(model, records):
    counts = check_chunkings(model, recordings(model, records, 10))
    assert min(counts["with thoughts"], counts["with calls"], counts["with content"]) > 0


@pytest.mark.slow
def test_chunkings_of_fifty_answers(model, records):
    counts = check_chunkings(model, recordings(model, records, 50))
    print(f"\nchunkings: {dict(counts)}")
    assert counts["answers"] == 50 and counts["with broken calls or characters"] > 5
