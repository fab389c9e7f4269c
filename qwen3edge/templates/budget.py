"""What a rendering of a template may take: steps, characters, items."""

from __future__ import annotations

import threading
from typing import Any

from qwen3edge.errors import TemplateError

MAX_STEPS = 300_000
"""Loop iterations and macro calls in one rendering; a conversation of 10,000 messages takes 20,000."""

MACRO_STEPS = 8
"""A call takes the time of so many iterations."""

MAX_CHARACTERS = 4 * 1024 * 1024
"""Of the output, and of every string on the way."""

MAX_WORK_CHARACTERS = 64 * 1024 * 1024
"""Of all strings that a rendering makes, together; an item of a list counts as 32."""

MAX_ITEMS = 100_000
"""Of every list that a template makes."""

MAX_SOURCE_CHARACTERS = 1024 * 1024
"""Of a template."""

_LONG, _MANY = 1024, 64
"""Shorter texts and containers are looked through for nothing: the number of steps bounds them."""


class Budget(threading.local):
    """What is left of the rendering that runs on this thread."""

    def __init__(self) -> None:
        self.fill()

    def fill(self) -> None:
        self.steps, self.characters = MAX_STEPS, MAX_WORK_CHARACTERS
        self._sizes: dict[int, tuple[object, int]] = {}  # of containers in containers, which are kept until the end

    def step(self, count: int) -> None:
        self.steps -= count
        if self.steps < 0:
            raise TemplateError(f"expected a chat template that takes at most {MAX_STEPS} steps")

    def charge(self, value: Any) -> Any:
        """Counts a string or a container that an expression made; returns it."""
        if isinstance(value, str):
            check_size(value, len(value))
            self.characters -= len(value)
        elif isinstance(value, list | tuple | dict):
            check_size(value, len(value))
            self.characters -= 32 * len(value)
            if self.size(value) > MAX_CHARACTERS:
                raise TemplateError(f"expected values of at most {MAX_CHARACTERS} characters in a chat template")
        return self._left(value)

    def compare(self, value: Any) -> Any:
        """Counts what a comparison or a search reads; returns it."""
        size = self.size(value)
        self.characters -= size if size > _LONG else 0
        return self._left(value)

    def consume(self, value: Any) -> Any:
        """Counts what a filter or a method goes through without making it longer; returns it."""
        if isinstance(value, str):
            self.characters -= len(value) if len(value) > _LONG else 0
        elif isinstance(value, list | tuple | dict | range):
            self.characters -= 8 * len(value) if len(value) > _MANY else 0
        return self._left(value)

    def size(self, value: object) -> int:
        """Characters of a value when it is written out: what lies in it in several places counts each time."""
        if isinstance(value, str):
            return len(value)
        if not isinstance(value, list | tuple | dict):
            return 8
        known = self._sizes.get(id(value))
        if known is not None:
            return known[1]
        items = [*value, *value.values()] if isinstance(value, dict) else value
        size = 4 + sum([4 + self.size(item) for item in items])
        if any(isinstance(item, list | tuple | dict) for item in items):
            self._sizes[id(value)] = (value, size)
        return size

    def _left(self, value: Any) -> Any:
        if self.characters < 0:
            raise TemplateError(f"expected a chat template that makes at most {MAX_WORK_CHARACTERS} characters")
        return value


def check_characters(count: int) -> None:
    if count > MAX_CHARACTERS:
        raise TemplateError(f"expected a prompt of at most {MAX_CHARACTERS} characters")


def check_size(value: object, count: int) -> None:
    if isinstance(value, str):
        check_characters(count)
    elif count > MAX_ITEMS:
        raise TemplateError(f"expected lists of at most {MAX_ITEMS} items in a chat template")
