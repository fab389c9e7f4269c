"""The chat template that a converted file will hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qwen3edge.errors import CheckpointError
from qwen3edge.templates.given import WAY_OUT, Given, read_template
from qwen3edge.templates.problems import template_problem
from qwen3edge.templates.sandbox import BoundedSandbox


@dataclass(frozen=True)
class PackedTemplate:
    """text: what is packed. original: the checkpoint's own, whose way of thinking its sampling settings are for;
    without one what is packed.
    """

    text: str | None
    original: str | None

    @classmethod
    def choose(cls, given: str | None, own: Callable[[], str | None]) -> PackedTemplate:
        """own: reads the checkpoint's, whose CheckpointError counts only if it is packed."""
        try:
            found = own()
        except CheckpointError as error:
            if given is None:
                raise CheckpointError(f"{error}; {WAY_OUT}") from None
            found = None
        return cls(found if given is None else given, given if found is None else found)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a prompt will meet in it."""
        problem = None if self.text is None else template_problem(self.text)
        return () if problem is None else (problem,)


def given_template(given: Given | None) -> str | None:
    """The text of the caller's. Raises RequestError, and TemplateError for one that does not compile."""
    if given is None:
        return None
    template = read_template(given)
    BoundedSandbox().compile_bounded(template.source, template.origin)
    return template.source
