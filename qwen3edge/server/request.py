"""What a client asks for, in the one form that every adapter makes of its API's own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from qwen3edge.errors import RequestError, shown
from qwen3edge.generation.options import Options
from qwen3edge.text.prompt import Input

if TYPE_CHECKING:
    from qwen3edge.generation.model import Model

MAX_ANSWERS = 128
"""To one request, of all its prompts."""


@dataclass(frozen=True)
class ThinkingWish:
    """How much a client would like a model to think. One that does not think ignores it.

    budget: tokens of thoughts; None: no limit.
    """

    thinking: bool
    budget: int | None = None

    def options(self, model: Model) -> Options:
        """For `generate` on this model."""
        if not model.thinks:
            return {}
        template = model.prompt_builder.template
        if template is None or not template.switches_thinking:  # it always thinks
            return {"thinking_budget": self.budget if self.thinking else 0}
        return {"thinking": self.thinking, "thinking_budget": self.budget if self.thinking else None}


EFFORTS = {
    "none": ThinkingWish(False),
    "minimal": ThinkingWish(True, 256),
    "low": ThinkingWish(True, 1024),
    "medium": ThinkingWish(True, 4096),
    "high": ThinkingWish(True),
    "xhigh": ThinkingWish(True),
}
"""Of OpenAI's `reasoning_effort`, which says it in words."""


@dataclass(frozen=True)
class AnswerRequest:
    """model: its name; None: the first that is served. input: messages, token ids, or a text (with raw=True in options,
    to be continued). options: of `Model.generate`, which checks them. n: answers. wish: of thinking, where options
    themselves do not say. one_call: an answer ends after its first tool call. others: further prompts, with n answers
    each. context: tokens that a prompt and its answer may have together; None: as the model was loaded.
    """

    model: str | None
    input: Input
    options: Options = field(default_factory=Options)
    n: int = 1
    wish: ThinkingWish | None = None
    one_call: bool = False
    others: Sequence[Input] = ()
    context: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.n <= MAX_ANSWERS:
            raise RequestError(f"expected n from 1 to {MAX_ANSWERS}, found {shown(self.n)}")
        if self.n * len(self.inputs) > MAX_ANSWERS:
            raise RequestError(
                f"expected at most {MAX_ANSWERS} answers to a request, found {self.n} to each of {len(self.inputs)} "
                "prompts: ask for some of them at a time"
            )

    @property
    def inputs(self) -> list[Input]:
        """All prompts."""
        return [self.input, *self.others]

    def options_for(self, model: Model) -> Options:
        """With the wish, as far as this model can follow it."""
        wished = self.wish.options(model) if self.wish is not None and self.options.get("thinking") is None else {}
        given = {name: value for name, value in self.options.items() if value is not None}
        seed = int.from_bytes(os.urandom(8), "little") >> 11  # which all clients read as they are told it
        return {"seed": seed, **wished, **given}  # type: ignore[typeddict-item]

    def with_tools(self, tools: Sequence[Mapping[str, Any]] | None, choice: object) -> AnswerRequest:
        """The same with functions that the model may call; without any a choice among them says nothing, unless it
        demands a call. Where it does there is no content for a schema to hold.
        """
        left = choice in ("auto", "none", None)
        if not tools and left:
            return self
        options = {**self.options, "tools": tools, **({} if choice is None else {"tool_choice": choice})}
        if tools and not left:
            options.pop("json_schema", None)
        return replace(self, options=options)  # type: ignore[arg-type]
