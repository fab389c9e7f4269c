"""What a request becomes before it reaches the model: token ids, and what is known about thinking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qwen3edge import checks
from qwen3edge.errors import RequestError, UnsupportedModelError, shown
from qwen3edge.generation import thinking as marks
from qwen3edge.generation.guard import TextGuard
from qwen3edge.generation.messages import Message
from qwen3edge.generation.template import ChatTemplate
from qwen3edge.generation.tokenizer import Tokenizer

Input = str | Sequence[Message] | Sequence[int]
"""A user's message, a conversation, or token ids that are taken as they are."""


@dataclass(frozen=True)
class Prompt:
    """tokens; thinking: the answer is expected to think; reasoning: the prompt has opened `<think>` already."""

    tokens: tuple[int, ...]
    thinking: bool
    reasoning: bool


@dataclass(frozen=True)
class Prompter:
    """Makes prompts with a model's tokenizer and chat template."""

    tokenizer: Tokenizer
    template: ChatTemplate | None

    def prompt(
        self,
        request: Input,
        *,
        thinking: bool | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tags_as_text: bool = True,
        template_variables: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> Prompt:
        """thinking None leaves the choice to the chat template. limit: of tokens.

        tags_as_text: `<think>`, `<tool_call>` and their like in what users, systems and tools say are text, not tokens
        (control tokens always are text). template_variables: what the template knows besides, such as `documents`; JSON
        values. Raises RequestError for a request of a wrong form, one that is too long (ContextError, before anything
        is made of texts that cannot fit), or a way of thinking that the model lacks.
        """
        checks.flag("tags_as_text", tags_as_text)
        if limit is not None:
            limit = checks.whole("limit", limit, 1, 2**31 - 1)
        if thinking is not None and not isinstance(thinking, bool):
            raise RequestError(f"expected thinking as True, False or None, found {shown(thinking)}")
        if _is_tokens(request):
            if tools:
                raise RequestError("expected messages along with tools, found tokens")
            return self._from_tokens([int(token) for token in request], thinking)  # type: ignore[arg-type]
        self.tokenizer.require_encoding()
        messages = [{"role": "user", "content": request}] if isinstance(request, str) else request
        if self.template is None:
            raise UnsupportedModelError("expected a chat template in the model file, found none: pass token ids")
        guard = TextGuard(self.tokenizer, tags_as_text=tags_as_text, context=limit)
        text = self.template.render(
            messages,  # type: ignore[arg-type]
            tools=tools,
            thinking=thinking,
            variables=template_variables,
            guard=guard,
            limit=guard.most_characters,
        )
        return self._from_tokens(self.tokenizer.encode_prompt(text, limit=limit), thinking, self.template)

    def _from_tokens(self, tokens: list[int], thinking: bool | None, template: ChatTemplate | None = None) -> Prompt:
        reasoning = self._open_thought(tokens)
        able = self.tokenizer.token_id(marks.OPEN) is not None
        if template is not None:
            able = able and template.switches_thinking
            if thinking and not able and not reasoning:
                raise RequestError("expected thinking=False or None: this model does not think")
            if thinking is False and reasoning:
                raise RequestError("expected thinking=True or None: this model always thinks")
        if reasoning is None:
            expected = able and thinking is not False and (template is not None or thinking is True)
        else:
            expected = reasoning
        return Prompt(tuple(tokens), expected, reasoning is True)

    def _open_thought(self, tokens: Sequence[int]) -> bool | None:
        """Whether the assistant's turn at the end stands inside `<think>`; None if there is no mark in it."""
        opened, closed = self.tokenizer.token_id(marks.OPEN), self.tokenizer.token_id(marks.CLOSE)
        for token in reversed(tokens):
            if token == opened:
                return True
            if token == closed:
                return False
            if self.tokenizer.is_control(token):
                break
        return None


def _is_tokens(request: object) -> bool:
    if isinstance(request, str | bytes | Mapping) or not isinstance(request, Sequence):
        return False
    return bool(request) and all(isinstance(item, int) and not isinstance(item, bool) for item in request)
