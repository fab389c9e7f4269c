"""Many prompts, answered together."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from qwen3edge.cli.output import answer_record, error_text, print_json
from qwen3edge.cli.prompts import PromptFile, PromptLine
from qwen3edge.cli.screen import Screen, ending, speed
from qwen3edge.cli.status import PromptProgress, Spinner
from qwen3edge.errors import Qwen3EdgeError
from qwen3edge.generation.answer import Answer, TextChunk, Usage
from qwen3edge.settings import MAX_SEQUENCES

_AHEAD = 1024  # answers that may have ended before an earlier one of which all is shown
_TITLE = 60  # characters

Ask = Callable[[PromptLine, PromptProgress], Answer]
"""Starts the answer to a line. Raises Qwen3EdgeError."""


class Asked:
    """A prompt on its way."""

    def __init__(self, line: PromptLine) -> None:
        self.index, self.number = line.index, line.number
        text = " ".join((line.text or "")[: 2 * _TITLE].split())
        self.title = f"{text[:_TITLE]}..." if len(text) > _TITLE else text
        self.progress = PromptProgress()
        self.answer: Answer | None = None  # while it runs
        self.pieces: list[TextChunk] = []  # that nobody took yet
        self.ended = False
        # Then of the answer, which itself holds more than is needed of one that waits to be shown:
        self.usage: Usage | None = None
        self.short = ""
        self.record: dict[str, Any] = {}
        self.error = ""

    def start(self, ask: Ask, line: PromptLine) -> None:
        """Puts it into the queue."""
        try:
            self.answer = ask(line, self.progress)
        except Qwen3EdgeError as error:
            self._fail(error)

    def step(self, context: int) -> None:
        """Its next piece, or its end."""
        assert self.answer is not None
        try:
            self.pieces.append(next(self.answer))
        except StopIteration:
            self.usage, self.short = self.answer.usage, ending(self.answer, context)
            self.record = answer_record(self.answer)
            self.answer, self.ended = None, True
        except (Qwen3EdgeError, OSError) as error:  # OSError: of the file that weights are streamed from
            self._fail(error)

    def stop(self) -> None:
        """Where the others are given up as well."""
        if self.answer is not None:
            self.answer.close()

    def _fail(self, error: Exception) -> None:
        self.error = error_text(error)
        self.answer, self.ended = None, True


@dataclass
class Totals:
    """Of all answers. failed: prompts without one."""

    answered: int = 0
    failed: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    began: float = field(default_factory=time.monotonic)

    def count(self, asked: Asked) -> None:
        """Adds one that has ended."""
        if asked.usage is None:
            self.failed += 1
            return
        self.answered += 1
        self.tokens += asked.usage.completion_tokens
        self.prompt_tokens += asked.usage.prompt_tokens
        self.cached_tokens += asked.usage.cached_tokens

    def speed(self) -> str:
        """One line on how fast they came."""
        seconds = time.monotonic() - self.began
        answers = f"{self.answered} answer{'s' * (self.answered != 1)}"
        return (
            f"{answers}, {self.tokens} tokens in {seconds:.1f} s, {self.tokens / seconds:.1f} tok/s together; prompts "
            f"of {self.prompt_tokens} ({self.cached_tokens} cached)"
        )


class Output(Protocol):
    """Where answers go."""

    def tell(self, asked: deque[Asked], totals: Totals) -> None:
        """Tells what there is, and takes from `asked`, which is in the order of the prompts, what is told."""

    def close(self) -> None:
        """At the end, also in the middle of an answer."""


class BatchProgress(Spinner):
    """How far all are, where answers are not shown as they come."""

    def __init__(self) -> None:
        super().__init__(lambda waited: f"{self._done} answered, {self._waiting} more begun, {waited:.0f} s")
        self._done = self._waiting = 0

    def show(self, asked: deque[Asked], totals: Totals) -> None:
        """From now on, as long as there is something to wait for."""
        self._done, self._waiting = totals.answered + totals.failed, sum(not each.ended for each in asked)
        if self._waiting:
            self.begin()
        else:
            self.end()


class JsonOutput:
    """A line a prompt, as each one ends."""

    def __init__(self) -> None:
        self._progress = BatchProgress()

    def tell(self, asked: deque[Asked], totals: Totals) -> None:
        for each in [each for each in asked if each.ended]:
            self._progress.end()
            asked.remove(each)
            result = {"error": each.error} if each.error else each.record
            print_json({"index": each.index, "line": each.number, **result})
            sys.stdout.flush()
            _tell_error(each)
        self._progress.show(asked, totals)

    def close(self) -> None:
        self._progress.end()


class TextOutput:
    """In the order of the prompts: of the first that has not ended what comes, then what the next has by then."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._all = BatchProgress()
        self._spinner: Spinner = self._all
        self._screen: Screen | None = None  # of the answer that is being shown
        self._several = False

    def tell(self, asked: deque[Asked], totals: Totals) -> None:
        while asked and (asked[0].pieces or asked[0].ended):
            self._show(first := asked[0])
            if not first.ended:
                break
            asked.popleft()
        if not self._terminal:
            self._all.show(asked, totals)
        elif asked and self._screen is None:
            self._spinner = asked[0].progress
            self._spinner.begin()

    def close(self) -> None:
        self._spinner.end()
        if self._screen is not None:
            self._screen.finish()

    def _show(self, asked: Asked) -> None:
        """Its new pieces, and its end."""
        if self._terminal or asked.ended:
            self._spinner.end()
        if self._screen is None and (asked.pieces or not asked.error):
            self._screen = Screen(sys.stdout)
            sys.stdout.write("\n" * self._several)
            self._several = True
            self._screen.note(f"line {asked.number}: {asked.title}")
        pieces, asked.pieces = asked.pieces, []
        if self._screen is not None:
            for piece in pieces:
                self._screen.show(piece)
        if asked.ended:
            self._end(asked)

    def _end(self, asked: Asked) -> None:
        if self._screen is not None:
            self._screen.finish()
            if asked.usage is not None:
                self._screen.note(speed(asked.usage))
            if asked.short:
                self._screen.tell(f"line {asked.number}: {asked.short}")
            self._screen = None
        _tell_error(asked)


def answer_all(prompts: PromptFile, ask: Ask, output: Output, *, sequences: int, context: int) -> Totals:
    """Answers them to the end of the file, so many together; what fails is told, and the others go on. context: tokens
    of a sequence. Raises what `prompts.next` raises, and OSError for what `output` writes to.
    """
    totals = Totals()
    asked: deque[Asked] = deque()  # in their order, until they are told
    running: list[Asked] = []
    most = min(2 * sequences, MAX_SEQUENCES)  # others wait, so that a sequence is taken as soon as it is free

    def next_line() -> PromptLine | None:
        """Waits for it where there is nothing to compute; that time does not count."""
        began = time.monotonic()
        line = prompts.next(wait=not running)
        totals.began += time.monotonic() - began
        return line

    try:
        while True:
            while len(running) < most and len(asked) < _AHEAD and (line := next_line()):
                asked.append(each := Asked(line))
                each.start(ask, line)
                if each.ended:
                    totals.count(each)
                else:
                    running.append(each)
                output.tell(asked, totals)
            if not running:
                return totals
            # The engine works on the oldest. They are read in turns, so that the end of each is seen soon.
            for each in running[:sequences]:
                each.step(context)
                if each.ended:
                    totals.count(each)
            running = [each for each in running if not each.ended]
            output.tell(asked, totals)
    finally:
        output.close()
        for each in running:
            each.stop()


def _tell_error(asked: Asked) -> None:
    if asked.error:
        print(f"qwen3edge: line {asked.number}: {asked.error}", file=sys.stderr)
