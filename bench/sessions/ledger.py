"""Requests to a model beside what each had to compute at least, given all that was computed before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qwen3edge.generation.answer import Answer
from qwen3edge.generation.model import Model
from qwen3edge.generation.session import Session

Message = dict[str, Any]


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two texts have in common at their beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@dataclass
class Asked:
    """A request. The tokens that were computed for it, or will be before it ends, are its prompt and its answer but for
    the answer's last token, which nothing follows.
    """

    messages: Sequence[Message]
    options: dict[str, Any]
    prompt: list[int]
    shared: int  # tokens of the prompt that were computed before, as far as its beginning goes; never the last one
    answer: Answer
    last: Asked | None  # the request before in the same conversation

    @property
    def tokens(self) -> list[int]:
        return [*self.prompt, *self.answer.tokens[:-1]]

    @property
    def reused(self) -> int:
        return self.answer.usage.cached_tokens

    @property
    def least(self) -> int:
        """Tokens of the prompt that nobody can know before."""
        return len(self.prompt) - self.shared

    @property
    def computed(self) -> int:
        return len(self.prompt) - self.reused

    def of_last(self, *, answer: bool) -> float:
        """The share of the last request's prompt, with or without its answer, that this one reused."""
        assert self.last is not None
        whole = len(self.last.tokens if answer else self.last.prompt)
        return min(self.reused / whole, 1)


class Ledger:
    """All requests to one model since it was empty."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.asked: list[Asked] = []
        self.forget()

    def start(
        self, messages: Sequence[Message], last: Asked | None = None, session: Session | None = None, **options: Any
    ) -> Asked:
        """A request that is not read yet, in a session of its own unless one is given; `options` are those of
        `generate`.
        """
        template = {name: options[name] for name in ("thinking", "tools") if name in options}
        prompt = self.model.tokens_of(messages, **template)
        shared = max((common_length(prompt[:-1], each.tokens) for each in self.asked), default=0)
        answer = (session or self.model.session()).generate(messages, **options)
        self.asked.append(Asked(list(messages), options, prompt, shared, answer, last))
        return self.asked[-1]

    def ask(
        self, messages: Sequence[Message], last: Asked | None = None, session: Session | None = None, **options: Any
    ) -> Asked:
        """A request, read to its end."""
        asked = self.start(messages, last, session, **options)
        asked.answer.read()
        return asked

    def forget(self) -> None:
        """Empties the prefix cache."""
        self.model.engine.core.clear_prefixes()  # type: ignore[attr-defined]

    def wrong(self, model: Model) -> list[Asked]:
        """Requests whose answers differ from those of this other model, which reuses nothing."""
        found = []
        for asked in self.asked:
            model.engine.core.clear_prefixes()  # type: ignore[attr-defined]
            again = model.generate(asked.messages, **{**asked.options, "seed": asked.answer.usage.seed})
            while again.finish_reason is None and len(again.tokens) < len(asked.answer.tokens):
                next(again, None)
            again.close()
            found += [asked] if again.tokens[: len(asked.answer.tokens)] != asked.answer.tokens else []
            if again.usage.cached_tokens:
                raise AssertionError("expected a model that reuses nothing")
        return found
