"""Files of text as the tokens of documents, and documents as windows that fit a context."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen3edge.errors import RequestError
from qwen3edge.text.prompt import PromptBuilder

Tokens = tuple[int, ...]


def read_documents(path: str | os.PathLike[str], prompt_builder: PromptBuilder) -> list[Tokens]:
    """A text file is one document. Each line of a `.jsonl` file is one: an object with `text`, or with `messages` (and
    `tools`) that the chat template renders; a string `expected` is the answer to them.

    Raises RequestError for what is not UTF-8, JSON or of that form, or has no text; OSError.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"{path}: expected UTF-8 text: {error}") from None
    if path.suffix == ".jsonl":
        documents = [_record_tokens(record, prompt_builder) for record in read_records(path)]
    else:
        documents = [tuple(prompt_builder.tokenizer.encode(text))]
    documents = [document for document in documents if len(document) > 1]
    if not documents:
        raise RequestError(f"{path}: expected text of at least two tokens, found none")
    return documents


def read_records(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The objects of a `.jsonl` file; empty lines are passed over. Raises RequestError, OSError."""
    records = []
    for number, line in enumerate(Path(path).read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise RequestError(f"{path}, line {number}: expected JSON: {error}") from None
        if not isinstance(record, dict):
            raise RequestError(f"{path}, line {number}: expected an object, found {record!r:.60}")
        records.append(record)
    return records


def _record_tokens(record: dict[str, Any], prompt_builder: PromptBuilder) -> Tokens:
    if isinstance(record.get("text"), str):
        return tuple(prompt_builder.tokenizer.encode(record["text"]))
    messages = record.get("messages")
    if not isinstance(messages, list) or prompt_builder.template is None:
        raise RequestError(f"expected `text`, or `messages` and a model with a chat template, found {record!r:.80}")
    if isinstance(record.get("expected"), str):
        messages = [*messages, {"role": "assistant", "content": record["expected"]}]
    text = prompt_builder.template.render(messages, tools=record.get("tools"), generate=False)
    return tuple(prompt_builder.tokenizer.encode_prompt(text))


@dataclass(frozen=True)
class Window:
    """A part of a document; the tokens from `first` on are to be predicted, those before are context."""

    tokens: Tokens
    first: int  # at least 1


def windows(documents: Sequence[Tokens], length: int, stride: int | None = None) -> Iterator[Window]:
    """Predicts every token of each document but its first once. stride: tokens that each further window predicts,
    by default all but one; a smaller one gives each token more context and takes longer.
    """
    if length < 2:
        raise RequestError(f"window: expected at least 2 tokens, found {length}")
    step = length - 1 if stride is None else stride
    if not 1 <= step < length:
        raise RequestError(f"stride: expected 1 to {length - 1} tokens (the window less one), found {step}")
    for document in documents:
        end = min(length, len(document))
        yield Window(document[:end], 1)
        while end < len(document):
            before, end = end, min(end + step, len(document))
            start = max(0, end - length)
            yield Window(document[start:end], before - start)
