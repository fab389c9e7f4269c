"""An answer as its user holds it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from qwen3edge import _core
from qwen3edge.closing import Closing
from qwen3edge.generation.tool_call import CallEvent, ToolCall
from qwen3edge.runtime.engine import Engine
from qwen3edge.runtime.fork_lock import ForkLock

if TYPE_CHECKING:
    from typing_extensions import Self  # Python has it from 3.11 on

    from qwen3edge.grammar.follower import Follower

_REASONS = {
    **{reason: reason for reason in ("stop", "tool_calls", "cancelled", "error")},
    **{"max_tokens": "length", "context": "length"},
}
"""What users are told, by how the scheduler ended it."""


class TextChunk(str):
    """A piece of an answer's text, whole characters only; `reasoning` tells thoughts from content.

    Of a tool call it is the next part of the arguments, empty where the call begins and where it ends (or the answer
    within it). `call` is the call, which may have come further already; `call_event` is what this piece is of it:
    "begun", "arguments", or its end, "complete", "broken" or "cut".
    """

    __slots__ = ("call", "call_event", "reasoning")
    reasoning: bool
    call: ToolCall | None
    call_event: CallEvent | None

    def __new__(
        cls, text: str, reasoning: bool = False, call: ToolCall | None = None, call_event: CallEvent | None = None
    ) -> TextChunk:
        """A str with the attributes."""
        piece = super().__new__(cls, text)
        piece.reasoning, piece.call, piece.call_event = reasoning, call, call_event
        return piece


@dataclass(frozen=True)
class TokenLogprob:
    """How probable a token was where it stands, as a natural logarithm: by the model alone, before temperature and all
    else that sampling does."""

    token: int
    logprob: float
    """NaN for a token that was appended and not picked, as those that end thoughts at their budget."""
    top: tuple[tuple[int, float], ...]
    """The most probable tokens there and their logarithms, best first."""


@dataclass(frozen=True)
class Usage:
    """Tokens and seconds of an answer so far."""

    prompt_tokens: int  # of them cached_tokens were computed before, for this or another request
    cached_tokens: int
    completion_tokens: int  # of them reasoning_tokens were thoughts; the stop token counts too
    reasoning_tokens: int
    queue_seconds: float  # until others had left it a sequence and memory
    prefill_seconds: float  # to the first token
    decode_seconds: float
    seed: int  # with which the same request gives the same answer again

    @property
    def prefill_tokens_per_second(self) -> float:
        """Of the tokens that were not in the cache; 0 if nothing was measured."""
        return (self.prompt_tokens - self.cached_tokens) / self.prefill_seconds if self.prefill_seconds else 0.0

    @property
    def decode_tokens_per_second(self) -> float:
        """Of all tokens but the first, whose logits the prefill computes; 0 if nothing was measured."""
        return max(self.completion_tokens - 1, 0) / self.decode_seconds if self.decode_seconds else 0.0


class Answer(Closing):
    """Iterate over it for the pieces, with `for` or with `async for`. Closing it, leaving its `with` (`async with`) or
    dropping it stops the model; the cache stays usable. Whoever leaves a loop and holds it may go on reading, and it is
    computed along with others until then. Any thread may close it.
    """

    def __init__(
        self,
        engine: Engine,
        generation: _core.Generation,
        prompt: Sequence[int],
        seed: int,
        progress: Callable[[int, int], object] | None = None,
        follower: Follower | None = None,
    ) -> None:
        """Use `Model.generate` or `Session.generate`. progress(done, all) is called after each chunk of the prompt.
        follower: of a grammar, whose memory it gives back at the end.
        """
        self.reader = threading.current_thread()
        self.prompt = prompt
        """The ids of its tokens."""
        self.tokens: list[int] = []
        """All that were sampled, the stop token included."""
        self.logprobs: list[TokenLogprob] = []
        """Of each of `tokens`, if they were asked for."""
        self.prompt_logprobs: list[TokenLogprob] = []
        """Of the prompt's tokens from the second on, if they were asked for."""
        self.usage = Usage(len(prompt), 0, 0, 0, 0.0, 0.0, 0.0, seed)
        """Counts and times so far."""
        self.thinking = False
        """Whether it stands in its thoughts."""
        self.tool_calls: list[ToolCall] = []
        """The complete ones so far."""
        self.broken_calls: list[str] = []
        """Of each `<tool_call>` that was none, and stayed text, why."""
        self.stop_string: str | None = None
        """The one of `stop` that ended it, if one did."""
        self._generation = generation
        self._engine = engine
        self._finish: str | None = None  # as the scheduler says it
        self._progress = progress
        self._follower = follower
        self._computed = 0  # tokens of the prompt
        self._call: ToolCall | None = None  # that is open
        self._calls = 0  # that have begun
        self._unread: deque[TextChunk] = deque()
        self._read: list[TextChunk] = []
        self._reading = ForkLock()  # held by whoever waits for news

    def __iter__(self) -> Iterator[TextChunk]:
        return self

    def __next__(self) -> TextChunk:
        with self._reading:
            self.reader = threading.current_thread()
            while not self._unread:
                if self._finish is not None:
                    raise StopIteration
                try:
                    self._take(self._generation.next())
                except BaseException as error:  # of the engine, of `progress`, or an interrupt
                    self._generation.cancel()
                    self._finish = "cancelled" if isinstance(error, KeyboardInterrupt) else "error"
                    raise
            return self._next_piece()

    def __aiter__(self) -> AsyncIterator[TextChunk]:
        return self

    async def __anext__(self) -> TextChunk:
        while not self._unread:
            if self._finish is not None:
                raise StopAsyncIteration
            await self._engine.pump.ready(self._generation)
            with self._reading:
                try:
                    self._take(self._generation.poll())
                except BaseException:
                    self._finish = "error"
                    self._generation.abandon()
                    raise
        return self._next_piece()

    def __repr__(self) -> str:
        return f"<Answer of {len(self.tokens)} tokens, {self.finish_reason or 'running'}>"

    def _next_piece(self) -> TextChunk:
        self._read.append(self._unread.popleft())
        return self._read[-1]

    def _take(self, news: _core.News | None) -> None:
        if news is None:  # another call of this thread's own took the last, within a callback
            return
        computed, self._computed = self._computed, news.computed_tokens
        self.tokens += news.tokens
        self.logprobs += map(_logprob, news.tokens, news.logprobs)
        first = 1 + len(self.prompt_logprobs)
        self.prompt_logprobs += map(_logprob, self.prompt[first:], news.prompt_logprobs)
        self.thinking = news.reasoning
        self.usage = Usage(**news.usage, seed=self.usage.seed)
        for text, what in news.pieces:
            self._hear(text, what)
        if news.finish is not None and self._call is not None:  # the answer was cut within it
            self._close_call("cut")
        if news.finish is not None and self._follower is not None:
            self._follower.release()
        if news.finish == "error":
            news.raise_error()
        self._finish, self.stop_string = self._finish or news.finish, news.stop_string
        if self._progress is not None and self._computed > computed:
            self._progress(self._computed, self.usage.prompt_tokens)

    def _hear(self, text: str, what: bool | _core.CallEvent | Literal["cut"]) -> None:
        if isinstance(what, bool):
            self._unread.append(TextChunk(text, what))
            return
        if what == "begun":
            self._call = ToolCall(self._calls, text)
            self._calls += 1
        elif what == "broken":
            self.broken_calls.append(text)
        call = self._call
        if call is None:  # it broke before its name was known
            return
        if what == "arguments":
            call.arguments += text
        elif what != "begun":
            self._close_call(what)
            return
        self._unread.append(TextChunk(text if what == "arguments" else "", call=call, call_event=what))

    def _close_call(self, state: Literal["complete", "broken", "cut"]) -> None:
        assert self._call is not None
        self._call.state = state
        self.tool_calls += [self._call] if state == "complete" else []
        self._unread.append(TextChunk("", call=self._call, call_event=state))
        self._call = None

    def close(self) -> None:
        """Stops the answer, from any thread. Another thread that is inside it leaves within a step; this waits for it.
        When it returns, the model computes nothing for it.
        """
        if self._finish is not None:
            return
        self._generation.cancel()
        with self._reading:
            if self._finish is None:
                self._take(self._generation.next())
            self._unread.clear()

    def read(self) -> str:
        """Runs to the end; returns the content without the reasoning."""
        for _ in self:
            pass
        return self.content

    async def aread(self) -> str:
        """`read` in a coroutine."""
        async for _ in self:
            pass
        return self.content

    async def aclose(self) -> None:
        """`close` in a coroutine."""
        await self._engine.pump.call(self.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def finish_reason(self) -> str | None:
        """None while it runs; then "stop" (a stop token or string), "tool_calls" (a stop token, after calls), "length"
        (cut), "cancelled" (closed before its end) or "error" (the iteration raised).
        """
        return None if self._finish is None else _REASONS[self._finish]

    @property
    def cut_by(self) -> str | None:
        """Of an answer that was cut ("length"): "max_tokens", or "context", which is full."""
        return self._finish if self.finish_reason == "length" else None

    @property
    def content(self) -> str:
        """The content so far."""
        return "".join([piece for piece in self._read if not piece.reasoning and piece.call is None])

    @property
    def reasoning(self) -> str:
        """The thoughts so far."""
        return "".join([piece for piece in self._read if piece.reasoning])

    @property
    def message(self) -> dict[str, Any]:
        """What it says so far as a message of the next request, its thoughts and its complete calls included: templates
        leave out what the model is not to see again.
        """
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = [call.message for call in self.tool_calls]
        return message


def _logprob(token: int, found: _core.LogprobPair) -> TokenLogprob:
    return TokenLogprob(token, found[0], tuple(found[1]))
