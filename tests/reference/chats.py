"""Held-out chats: their prompts as tokens, a model's greedy answers, and how many of them are right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen3edge import Model, _core
from qwen3edge.evaluate.judges import is_right
from qwen3edge.text.prompt import PromptBuilder
from qwen3edge.text.template import ChatTemplate
from qwen3edge.text.tokenizer import Tokenizer

MAX_ANSWER_TOKENS = 160
AT_ONCE = 16  # answers; a model loaded with as many sequences computes them together
Record = dict[str, Any]


@dataclass(frozen=True)
class Chat:
    """A prompt with an answer after it."""

    tokens: tuple[int, ...]
    prompt_size: int  # tokens before the answer


def read_records(path: Path) -> list[Record]:
    """The lines of a heldout.jsonl; tests/data/tiny-qwen3/README.md says what they hold."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Texts:
    """Turns records into tokens with the tokenizer and the template of a `.q3e` file."""

    def __init__(self, file: _core.ModelFile) -> None:
        source = file.get("tokenizer.chat_template")
        if not isinstance(source, str):
            raise TypeError("tokenizer.chat_template is no string")
        self.template = ChatTemplate(source)
        self.tokenizer = Tokenizer.from_metadata(file)
        self.prompt_builder = PromptBuilder(self.tokenizer, self.template)

    def prompt(self, record: Record) -> tuple[int, ...]:
        """As `Model.generate` makes it."""
        return self.prompt_builder.prompt(
            record["messages"], thinking=record["enable_thinking"], tools=record.get("tools")
        ).tokens

    def expected(self, record: Record) -> Chat:
        """The prompt with the expected answer, which must need no thoughts."""
        if record["enable_thinking"]:
            raise ValueError("held-out records have no thoughts")
        answer: Record = {"role": "assistant", "content": record["expected"]}
        if record["judge"] == "tool_call":
            call = {"type": "function", "function": record["expected"]}
            answer = {"role": "assistant", "content": "", "tool_calls": [call]}
        elif record["judge"] == "json":
            answer["content"] = json.dumps(record["expected"], ensure_ascii=False)
        text = self.template.render([*record["messages"], answer], tools=record.get("tools"), generate=False)
        tokens, prompt = tuple(self.tokenizer.encode_prompt(text)), self.prompt(record)
        if tokens[: len(prompt)] != prompt:
            raise ValueError(f"the chat does not begin with its prompt: {text!r}")
        return Chat(tokens, len(prompt))


@dataclass(frozen=True)
class Answers:
    """A model's greedy answers to some records, in their order."""

    tokens: list[tuple[int, ...]]
    right: list[bool]

    @property
    def accuracy(self) -> float:
        """The share of right ones."""
        return sum(self.right) / len(self.right)


def answer_greedily(model: Model, records: Sequence[Record]) -> Answers:
    """Through the API that users call, some at a time: an answer is the same alone and beside others."""
    tokens, right = [], []
    for begin in range(0, len(records), AT_ONCE):
        some = records[begin : begin + AT_ONCE]
        answers = [
            model.generate(
                record["messages"],
                tools=record.get("tools"),
                tool_calls=False,  # judges read the text
                thinking=record["enable_thinking"],
                max_tokens=MAX_ANSWER_TOKENS,
                temperature=0,
            )
            for record in some
        ]
        for record, answer in zip(some, answers, strict=True):
            answer.read()
            tokens.append(tuple(answer.tokens))
            right.append(is_right(record, answer.content))
    return Answers(tokens, right)
