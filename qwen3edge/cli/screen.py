"""What an answer looks like on a terminal: thoughts dimmed, nothing that steers the terminal."""

from __future__ import annotations

import re
from typing import TextIO

from qwen3edge.generation.answer import Piece, Usage

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Screen:
    """Writes the pieces of one answer as they come. Where nobody looks (a pipe, a file) thoughts are left out."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._reasoning = False
        self._empty = True

    def show(self, piece: Piece) -> None:
        """Writes one piece."""
        if not self._terminal:
            if not piece.reasoning:
                self._stream.write(piece)
                self._stream.flush()
            return
        if piece.reasoning != self._reasoning:
            self._switch(piece.reasoning)
        self._empty = False
        self._stream.write(_STEERING.sub("\N{REPLACEMENT CHARACTER}", piece))
        self._stream.flush()

    def finish(self) -> None:
        """Ends the answer's last line."""
        if self._terminal and self._reasoning:
            self._stream.write(_PLAIN)
            self._reasoning = False
        self._stream.write("\n")
        self._stream.flush()

    def note(self, text: str) -> None:
        """A dimmed line beside the answer; only on a terminal."""
        if self._terminal:
            self._stream.write(f"{_DIM}{text}{_PLAIN}\n")
            self._stream.flush()

    def _switch(self, reasoning: bool) -> None:
        gap = "" if self._empty else "\n\n"
        self._stream.write((_DIM if reasoning else _PLAIN) + gap)
        self._reasoning = reasoning


def speed(usage: Usage) -> str:
    """One line on how fast an answer came."""
    return (
        f"{usage.completion_tokens} tokens, {usage.decode_tokens_per_second:.1f} tok/s; prompt of "
        f"{usage.prompt_tokens} ({usage.cached_tokens} cached), {usage.prefill_seconds:.2f} s"
    )
