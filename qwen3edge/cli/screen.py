"""What an answer looks like on a terminal: thoughts dimmed, words whole, nothing that steers the terminal."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, TextIO

from qwen3edge.cli.wrapping import LineWrapper, wrapped

if TYPE_CHECKING:
    from qwen3edge.generation.answer import Answer, TextChunk, Usage
    from qwen3edge.generation.tool_call import ToolCall

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Screen:
    """Writes the pieces of one answer as they come. Where nobody looks (a pipe, a file) thoughts are left out."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._dims = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._reasoning = False
        self._empty = True
        self._wrapper = LineWrapper(self._columns)

    def show(self, piece: TextChunk) -> None:
        """Writes one piece; not those of tool calls, which are for programs."""
        if piece.call is not None:
            return
        if not self._terminal:
            if not piece.reasoning:
                self._stream.write(piece)
                self._stream.flush()
            return
        if piece.reasoning != self._reasoning:
            self._switch(piece.reasoning)
        self._empty = False
        self._stream.write(self._wrapper.push(_harmless(piece)))
        self._stream.flush()

    def finish(self) -> None:
        """Ends the answer's last line."""
        self._stream.write(self._wrapper.finish())
        if self._terminal and self._reasoning:
            self._stream.write(_PLAIN * self._dims)
            self._reasoning = False
        self._stream.write("\n")
        self._stream.flush()

    def show_call(self, call: ToolCall) -> None:
        """A line for a call, which somebody is to make."""
        self._stream.write(f"{_harmless(f'{call.name} {call.arguments}')}\n")
        self._stream.flush()

    def note(self, text: str) -> None:
        """A dimmed line beside the answer; only on a terminal."""
        if self._terminal:
            text = wrapped(_harmless(text), self._columns())
            self._stream.write(f"{_DIM}{text}{_PLAIN}\n" if self._dims else f"({text})\n")
            self._stream.flush()

    def tell(self, text: str) -> None:
        """A note that must not be missed: where nobody looks it goes to standard error."""
        if self._terminal:
            self.note(text)
        else:
            print(f"qwen3edge: {text}", file=sys.stderr)

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):  # not of a kind that has a size
            return 0

    def _switch(self, reasoning: bool) -> None:
        gap = "" if self._empty else "\n\n"
        self._stream.write(self._wrapper.finish())
        self._wrapper = LineWrapper(self._columns)
        if self._dims:
            self._stream.write((_DIM if reasoning else _PLAIN) + gap)
        else:
            self._stream.write(gap + ("(thinking)\n" if reasoning else "(answer)\n"))
        self._reasoning = reasoning


def _harmless(text: str) -> str:
    return _STEERING.sub("\N{REPLACEMENT CHARACTER}", text)


def speed(usage: Usage) -> str:
    """One line on how fast an answer came."""
    return (
        f"{usage.completion_tokens} tokens, {usage.decode_tokens_per_second:.1f} tok/s; prompt of "
        f"{usage.prompt_tokens} ({usage.cached_tokens} cached), {usage.prefill_seconds:.2f} s"
    )


def broken_calls(answer: Answer) -> list[str]:
    """A line for each call of a tool that was none, and stands in the text."""
    return [f"a tool call cannot be read, and stays text: {problem}" for problem in answer.broken_calls]


def ending(answer: Answer, context: int) -> str:
    """What cut an answer short, in words; empty for one that came to its end."""
    thinking = " while thinking" if answer.thinking else ""
    empty = "" if answer.content else ", before the answer began"
    if answer.finish_reason == "cancelled":
        return f"stopped{thinking}{empty}"
    if answer.cut_by == "max_tokens":
        return f"cut by --max-tokens ({len(answer.tokens)}){thinking}{empty}"
    if answer.cut_by == "context":
        return f"cut{thinking}: the context of {context} tokens is full (--context N holds more){empty}"
    return ""
