"""Many prompts in one file: a line each, as it is or in JSON."""

from __future__ import annotations

import json
import select
import sys
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from dataclasses import dataclass
from io import FileIO
from typing import Any

from qwen3edge.errors import RequestError, shown
from qwen3edge.text.text_size import most_bytes

Message = dict[str, Any]

STDIN = "-"
_PIECE = 1 << 16  # bytes that are read at once
_ESCAPED = 6  # bytes of a character in JSON, at most
_IN_JSON = '{"prompt": "..."} or {"messages": [...]}'
_SYSTEM = ("system", "developer")


@dataclass(frozen=True)
class PromptLine:
    """index: among the prompts, from 0. number: of the line in its file, from 1. text: without the line's end; None
    where it was too long to be held.
    """

    index: int
    number: int
    text: str | None


def opened(path: str) -> FileIO:
    """`-` is standard input, which stays open when the file is closed. Raises OSError."""
    return FileIO(sys.stdin.fileno(), closefd=False) if path == STDIN else FileIO(path)


def longest_line(context: int) -> int:
    """Bytes of a line whose texts a context of so many tokens may hold."""
    return _ESCAPED * most_bytes(context)


class PromptFile:
    """The lines of a file that are not blank, as they come: of a pipe, those that are there can be had alone."""

    def __init__(self, file: FileIO, longest: int, what: str = "prompts") -> None:
        """longest: bytes of a line; of a longer one nothing is kept. what: the lines are, for messages."""
        self._what = what
        self._file = file
        self._longest = longest
        self._unread = bytearray()
        self._cut = False  # the line that is being read was too long, and its beginning is gone
        self._index = self._number = 0
        self._at_end = self._ended = False  # of the file; of the lines
        if file.isatty():
            print(f"qwen3edge: reading {what} from the terminal, one a line; Ctrl-D ends them", file=sys.stderr)

    def next(self, *, wait: bool) -> PromptLine | None:
        """The next prompt; None at the end, or where it has not come yet and is not waited for. Raises OSError, and
        RequestError for a file in UTF-16.
        """
        while not self._ended:
            end = self._unread.find(b"\n")
            if end < 0 and not self._at_end:
                if not self._read(wait=wait):
                    return None
                continue
            line = bytes(self._unread[:end] if end >= 0 else self._unread)
            del self._unread[: len(line) + 1]
            self._ended = end < 0
            self._number += 1
            too_long, self._cut = self._cut or len(line) > self._longest, False
            if self._number == 1:
                line = line.removeprefix(BOM_UTF8)  # which editors of Windows write
                if line.startswith((BOM_UTF16_BE, BOM_UTF16_LE)):
                    raise RequestError(f"expected {self._what} in UTF-8, found a file in UTF-16: save it as UTF-8")
            if too_long or line.strip():
                text = None if too_long else line.removesuffix(b"\r").decode("utf-8", "replace")
                self._index += 1
                return PromptLine(self._index - 1, self._number, text)
        return None

    def _read(self, *, wait: bool) -> bool:
        """Whether there was something, or the end."""
        if not select.select([self._file], [], [], None if wait else 0)[0]:
            return False
        if len(self._unread) > self._longest:
            self._unread.clear()
            self._cut = True
        piece = self._file.read(_PIECE)
        self._at_end = piece == b""
        self._unread += piece or b""  # None: a pipe that does not block, and somebody else was faster
        return True


def read_lines(path: str, context: int, what: str) -> list[str]:
    """All lines of a file as texts. what: they are, for messages. Raises OSError, RequestError for one that no context
    of so many tokens holds.
    """
    texts = []
    with opened(path) as file:
        lines = PromptFile(file, longest_line(context), what)
        while (line := lines.next(wait=True)) is not None:
            if line.text is None:
                most = longest_line(context)
                raise RequestError(f"line {line.number}: expected at most {most} bytes for this context, found more")
            texts.append(line.text)
    return texts


def asked_by(text: str, system: list[Message], *, raw: bool) -> str | list[Message]:
    """What a line asks `generate` for. system: what conversations begin with that have no system prompt of their own.
    Raises RequestError.
    """
    found = _parsed(text) if text.lstrip().startswith("{") else {"prompt": text}
    if found.keys() == {"prompt"}:
        prompt = found["prompt"]
        if not isinstance(prompt, str):
            raise RequestError(f"prompt: expected a text, found {shown(prompt)}")
        if not prompt:
            raise RequestError("expected a prompt, found none")
        return prompt if raw else [*system, {"role": "user", "content": prompt}]
    if found.keys() != {"messages"}:
        raise RequestError(f"expected {_IN_JSON}, found {shown(list(found))}")
    messages = found["messages"]
    if raw:
        raise RequestError("--raw: expected a prompt, found messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
        raise RequestError(f"messages: expected a list of objects, found {shown(messages)}")
    return messages if messages[0].get("role") in _SYSTEM else [*system, *messages]


def _parsed(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f"{error.msg} in column {error.colno}" if isinstance(error, json.JSONDecodeError) else f"{error!s:.60}"
        raise RequestError(
            f"expected {_IN_JSON} where a line begins with a brace, found what is no JSON ({where}): a text that "
            "begins with one is written as a prompt in JSON"
        ) from None
    return found
