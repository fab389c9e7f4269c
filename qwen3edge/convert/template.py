"""The chat template that a converted file will hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from qwen3edge import _core
from qwen3edge.errors import CheckpointError, TemplateError
from qwen3edge.formats.gguf_header import MetadataItem
from qwen3edge.templates.given import WAY_OUT, Given, read_template
from qwen3edge.templates.problems import template_problem
from qwen3edge.templates.sandbox import BoundedSandbox
from qwen3edge.templates.syntax_tree import SyntaxTree, syntax_tree

_MOST_SHOWN = 4
_NO_TREE = SyntaxTree(None, ())


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

    def metadata(self) -> dict[str, MetadataItem]:
        """The keys of the template and of its syntax tree."""
        keys: dict[str, MetadataItem] = {}
        if self.text is not None:
            keys["tokenizer.chat_template"] = self.text
        if self._tree.data is not None:
            keys["qwen3edge.chat_template.tree"] = np.frombuffer(self._tree.data, np.uint8)
        return keys

    @property
    def notes(self) -> tuple[str, ...]:
        """What a prompt will meet in it, and what keeps it from programs without Python."""
        if self.text is None:
            return ()
        problem, beyond = template_problem(self.text), self._tree.beyond
        notes = [] if problem is None else [problem]
        if beyond and problem is None:
            rest = f" and {len(beyond) - _MOST_SHOWN} more" if len(beyond) > _MOST_SHOWN else ""
            notes.append(
                f"the chat template needs jinja2, so that only Python can use it, for {', '.join(beyond[:_MOST_SHOWN])}"
                f"{rest}; {WAY_OUT}"
            )
        return tuple(notes)

    @cached_property
    def _tree(self) -> SyntaxTree:
        try:
            tree = _NO_TREE if self.text is None else syntax_tree(self.text)
        except TemplateError:
            return _NO_TREE
        if tree.data is not None:
            assert self.text is not None
            _core.TemplateTree(tree.data, self.text)  # no file is written that the reader would refuse
        return tree


def given_template(given: Given | None) -> str | None:
    """The text of the caller's. Raises RequestError, and TemplateError for one that does not compile."""
    if given is None:
        return None
    template = read_template(given)
    BoundedSandbox().compile_bounded(template.source, template.origin)
    return template.source
