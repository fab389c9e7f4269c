"""What a request becomes before it reaches the model: token ids, and what is known about thinking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, Protocol

from qwen3edge import checks
from qwen3edge.errors import ContextError, RequestError, UnsupportedModelError, shown
from qwen3edge.text.guard import TextGuard
from qwen3edge.text.messages import Message
from qwen3edge.text.reasoning import THINK_CLOSE, THINK_OPEN
from qwen3edge.text.template import ChatTemplate
from qwen3edge.text.tokenizer import Tokenizer, TokenLimitError
from qwen3edge.text.tools import TOOL_CALL, TOOL_CALLED


class Array(Protocol):
    """Token ids as numpy's arrays and torch's tensors hold them: [tokens] integers."""

    def tolist(self) -> Any: ...


Input = str | Sequence[Message] | Sequence[int] | Array
"""A user's message (or with raw=True a text to continue), a conversation, or token ids that are taken as they are."""

_COUNTED = 8
"""A text of so many contexts is still read to its end, to say how long it is."""


@dataclass(frozen=True)
class Prompt:
    """tokens; thinking: the answer is expected to think; reasoning: the prompt has opened `<think>` already."""

    tokens: tuple[int, ...]
    thinking: bool
    reasoning: bool


@dataclass(frozen=True)
class PromptBuilder:
    """Makes prompts with a model's tokenizer and chat template."""

    tokenizer: Tokenizer
    template: ChatTemplate | None

    def prompt(
        self,
        request: Input,
        *,
        thinking: bool | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        raw: bool = False,
        tags_as_text: bool = True,
        template_variables: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> Prompt:
        """thinking None leaves the choice to the chat template. raw: a str is the prompt itself, without the template;
        names of special tokens in it become those tokens. limit: the prompt has fewer tokens.

        tags_as_text: `<think>`, `<tool_call>` and their like in what users, systems and tools say are text, not tokens
        (control tokens always are text). template_variables: what the template knows besides, such as `documents`; JSON
        values. Raises ContextError for a prompt that is too long (for texts that cannot fit, before anything is made of
        them), RequestError for a request of a wrong form or a way of thinking that the model lacks.
        """
        checks.flag("tags_as_text", tags_as_text)
        if limit is not None:
            limit = checks.whole("limit", limit, 1, 2**31 - 1)
        if thinking is not None and not isinstance(thinking, bool):
            raise RequestError(f"expected thinking as True, False or None, found {shown(thinking)}")
        checks.flag("raw", raw)
        ids = _tokens(request)
        if ids is not None or raw:
            if tools:
                raise RequestError("expected messages along with tools, found " + ("tokens" if ids else "a raw text"))
            if ids is None:
                if not isinstance(request, str):
                    raise RequestError(f"expected a str with raw=True, found {type(request).__name__}")
                TextGuard(self.tokenizer, context=limit).raw(request)
                ids = self._encoded(request, limit, special=True)
            return self._from_tokens(_within(ids, limit), thinking)
        self.tokenizer.require_encoding()
        messages = [{"role": "user", "content": request}] if isinstance(request, str) else request
        if self.template is None:
            raise UnsupportedModelError(
                "expected a chat template in the model file, found none: pass token ids, or a text with raw=True"
            )
        guard = TextGuard(self.tokenizer, tags_as_text=tags_as_text, context=limit)
        text = self.template.render(
            messages,  # type: ignore[arg-type]
            tools=tools,
            thinking=thinking,
            variables=template_variables,
            guard=guard,
            limit=guard.most_characters,
        )
        return self._from_tokens(_within(self._encoded(text, limit), limit), thinking, self.template)

    def end_of_thoughts(self, message: str) -> list[int]:
        """The ids that end thoughts after a last message; several where `</think>` is no token."""
        close = self.tokenizer.token_id(THINK_CLOSE)
        ids = self.tokenizer.encode(message)
        return [*ids, *(self.tokenizer.encode(THINK_CLOSE) if close is None else [close])]

    def call_token(self) -> int:
        """The id that begins a tool call. Raises RequestError where no token does."""
        token = self.tokenizer.token_id(TOOL_CALL)
        if token is None:
            raise RequestError(
                f"tool_choice: expected {TOOL_CALL} in the vocabulary, which 'none' bans and by which calls are told "
                "from content of a given form, found no such token: leave out the tools"
            )
        return token

    def call_tags_are_tokens(self) -> bool:
        """Whether the vocabulary has those of a call, or they are text."""
        return all(self.tokenizer.token_id(tag) is not None for tag in (TOOL_CALL, TOOL_CALLED))

    @property
    def calls_in_xml(self) -> bool:
        """Whether the template shows the model calls in XML, else in Hermes' JSON."""
        return self.template is not None and self.template.calls_in_xml

    def _encoded(self, text: str, limit: int | None, *, special: bool = False) -> list[int]:
        most = None if limit is None else _COUNTED * limit
        try:
            if special:
                return self.tokenizer.encode(text, allow_special=True, limit=most)
            return self.tokenizer.encode_prompt(text, limit=most)
        except TokenLimitError:
            assert limit is not None and most is not None
            raise _too_long(most, limit, f"more than {most}") from None

    def _from_tokens(self, tokens: list[int], thinking: bool | None, template: ChatTemplate | None = None) -> Prompt:
        reasoning = self._open_thought(tokens)
        able = template is None or template.switches_thinking
        if thinking and not able and not reasoning:
            raise RequestError("expected thinking=False or None: this model does not think")
        if template is not None and thinking is False and reasoning:
            raise RequestError("expected thinking=True or None: this model always thinks")
        if reasoning is None:
            expected = able and thinking is not False and (template is not None or thinking is True)
        else:
            expected = reasoning
        return Prompt(tuple(tokens), expected, reasoning is True)

    def _open_thought(self, tokens: Sequence[int]) -> bool | None:
        """Whether the assistant's turn at the end stands inside `<think>`; None if there is no tag in it. Of a tag that
        is no token, the text behind the last token of the other's is read.
        """
        ids = {self.tokenizer.token_id(tag): tag for tag in (THINK_OPEN, THINK_CLOSE)}
        by_text = [tag for tag in (THINK_OPEN, THINK_CLOSE) if self.tokenizer.token_id(tag) is None]
        found, begin, in_turn = None, 0, False
        for at in range(len(tokens) - 1, -1, -1):
            if tag := ids.get(tokens[at]):
                found, begin, in_turn = tag == THINK_OPEN, at + 1, True
                break
            if self.tokenizer.is_control(tokens[at]):
                begin, in_turn = at + 1, True
                break
        if by_text:
            text = self.tokenizer.decode(tokens[begin:])
            if not in_turn and not text.rstrip(" \t\r\n").endswith(tuple(by_text)):  # it may be what a user says
                return found
            place, tag = max((text.rfind(tag), tag) for tag in by_text)
            if place >= 0:
                return tag == THINK_OPEN
        return found


def _tokens(request: object) -> list[int] | None:
    """The request as token ids; None if it is none. Raises RequestError for an array that holds no ids."""
    array = not isinstance(request, Sequence) and hasattr(request, "tolist")
    items = request.tolist() if array else request  # type: ignore[attr-defined]
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Sequence | int | float):
        return None
    if (
        isinstance(items, Sequence)
        and items
        and all(hasattr(item, "__index__") and not isinstance(item, bool) for item in items)
    ):
        try:
            return [index(item) for item in items]
        except Exception as error:  # whatever the caller's own objects raise
            raise RequestError("request: expected token ids, found an item that is no integer") from error
    if array:
        raise RequestError("request: expected token ids as an array [tokens] of integers, found another shape or type")
    return None


def _within(tokens: list[int], limit: int | None) -> list[int]:
    if limit is not None and len(tokens) >= limit:
        raise _too_long(len(tokens), limit, str(len(tokens)))
    return tokens


def _too_long(tokens: int, context: int, found: str) -> ContextError:
    return ContextError(
        f"expected a prompt of fewer than {context} tokens (the context), found {found}: load the model with a larger "
        "context (--context N), or leave out the oldest messages",
        tokens=tokens,
        context=context,
    )
