"""The text of an answer in plain Python: its own UTF-8 decoder; after each token all that was said is read again as a
whole, tags by a regular expression, stop strings by `find`.
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence

BLANKS = " \t\r\n"
OPEN, CLOSE = "\ud800", "\ud801"  # in place of tags: no text has them
TAGS = {OPEN: "<think>", CLOSE: "</think>"}
Piece = tuple[str, bool]  # text, whether it is a thought's


class AnswerText:
    """As `_core.AnswerText` without tools. think_open, think_close: None in a vocabulary without: text decides."""

    def __init__(
        self,
        token_bytes: Callable[[int], bytes],
        control: Collection[int],
        think_open: int | None,
        think_close: int | None,
        *,
        reasoning: bool,
        stops: Sequence[str],
    ) -> None:
        self._token_bytes = token_bytes
        self._control = control
        self._marks = {token: tag for token, tag in ((think_open, OPEN), (think_close, CLOSE)) if token is not None}
        self._by_text = {tag: text for tag, text in TAGS.items() if tag not in self._marks.values()}
        self._pattern = re.compile("|".join([OPEN, CLOSE, *self._by_text.values()]))
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = StopFilter(stops)
        self._begins_thinking = self.reasoning = reasoning
        self._said = ""
        self._starts: list[float] = []  # of the tokens, in what was said; of those that say nothing half a place before
        self._shown = 0
        self.reasoning_tokens = 0

    @property
    def stopped(self) -> bool:
        return self._stops.found is not None

    @property
    def stop_string(self) -> str | None:
        """By which stop string."""
        return self._stops.found

    def push(self, token: int) -> list[Piece]:
        if self.stopped:
            return []
        if token in self._marks:
            self._said += self._rest()
            self._starts.append(len(self._said))
            self._said += self._marks[token]
            return self._news()
        begin = len(self._said)
        if token not in self._control:
            self._said += self._utf8.decode(self._token_bytes(token))
            held = self._utf8.getstate()[0]
            if (
                len(held) == 2 and b"\xed\xa0" <= held <= b"\xed\xbf"
            ):  # half a surrogate: Python waits, though it can be no character
                self._said += self._rest()
        self._starts.append(begin - (begin == len(self._said)) / 2)
        return self._news()

    def finish(self) -> list[Piece]:
        if self.stopped:
            return []
        self._said += self._rest()
        pieces = self._news(final=True)
        _add(pieces, self._stops.finish(), False)
        return pieces

    def _rest(self) -> str:
        rest = self._utf8.decode(b"", True)
        self._utf8.reset()
        return rest

    def _news(self, *, final: bool = False) -> list[Piece]:
        pieces: list[Piece] = []
        skip = self._shown
        for text, thought in self._read(final):
            new, skip = text[skip:], max(0, skip - len(text))
            self._shown += len(new)
            if new and not self.stopped:
                _add(pieces, new if thought else self._stops.push(new), thought)
        return pieces

    def _read(self, final: bool) -> list[Piece]:
        """The parts of all that was said, as far as they are sure."""
        parts: list[Piece] = []
        text, thought, begin, end = "", self._begins_thinking, 0, 0
        self.reasoning_tokens = 0
        for found in self._pattern.finditer(self._said):
            text += self._said[end : found.start()]
            end = found.end()
            as_token = found[0] in TAGS
            tag = found[0] if as_token else next(tag for tag, name in TAGS.items() if name == found[0])
            before = text if as_token or not thought else self._without_unfinished(text, thought, least=2)
            if _is_blank(before) or (thought and tag == CLOSE):
                parts.append((before.strip(BLANKS), thought))
                self.reasoning_tokens += thought and self._begun(begin, found.start())
                text, thought, begin = "", tag == OPEN, end
            else:
                text += tag
        text += self._said[end:]
        parts.append((self._last(text, thought, final, marked=bool(parts)), thought))
        self.reasoning = thought
        self.reasoning_tokens += thought and self._begun(begin, len(self._said) + 1)
        return [(re.sub(f"[{OPEN}{CLOSE}]", lambda tag: TAGS[tag[0]], shown), thinks) for shown, thinks in parts]

    def _begun(self, begin: int, end: int) -> int:
        """How many tokens did from one place on, and before another."""
        return bisect_left(self._starts, end) - bisect_left(self._starts, begin - 0.5)

    def _without_unfinished(self, text: str, thought: bool, *, least: int, again: bool = True) -> str:
        """Without a tag's beginning of so many characters at its end, where the tag would begin a part. again: in
        thoughts another one before it, which is left out if this becomes a tag, does not count.
        """
        rest = text[: max(text.rfind("<"), 0)]
        before = self._without_unfinished(rest, True, least=2, again=False) if thought and again else rest
        acting = {
            OPEN: not thought or _is_blank(before),  # which is left out at the end of content, too
            CLOSE: thought or _is_blank(before),
        }
        unfinished = text[len(rest) :]
        for tag, name in self._by_text.items():
            if acting[tag] and len(unfinished) >= least and unfinished and name.startswith(unfinished):
                return rest
        return text

    def _last(self, text: str, thought: bool, final: bool, *, marked: bool) -> str:
        found = self._without_unfinished(text, thought, least=2 if final else 1)
        if thought:
            if found != text:
                found = self._without_unfinished(found, thought, least=2)
            return found.strip(BLANKS)
        found = re.sub(f"({OPEN}[{BLANKS}]*)+$", "", found)
        if _is_blank(found) and (marked or not final):
            return ""
        if marked:
            indent = found[: len(found) - len(found.lstrip(BLANKS))]
            found = found[max(indent.rfind("\n"), indent.rfind("\r")) + 1 :]
        return found


def _is_blank(text: str) -> bool:
    return not text.strip(BLANKS)


def _add(pieces: list[Piece], text: str, thought: bool) -> None:
    if text and pieces and pieces[-1][1] is thought:
        pieces[-1] = (pieces[-1][0] + text, thought)
    elif text:
        pieces.append((text, thought))


class StopFilter:
    """Passes text on up to the first stop string that is complete; it and what follows never come out."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found: str | None = None  # the stop string that was complete first, the longest of those

    def push(self, text: str) -> str:
        held = self._held + text
        found = [(start + len(stop), start, stop) for stop in self._stops if (start := held.find(stop)) >= 0]
        if found:
            _, start, self.found = min(found)
            self._held = ""
            return held[:start]
        keep = max((_overlap(held, stop) for stop in self._stops), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def finish(self) -> str:
        """What was held back and is no stop string after all."""
        rest, self._held = self._held, ""
        return rest


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of text that are the start of stop."""
    for count in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:count]):
            return count
    return 0
