"""What a syntax tree is written with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jinja2 import nodes

from qwen3edge.templates.node_kinds import Kind

MAX_DEPTH = 190
"""Of nodes in one another; readers take some more, as what is left out counts there."""


class TooDeepError(Exception):
    """Nothing more can be written."""


class TreeBytes:
    """The bytes so far, and what cannot be written."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.beyond: list[str] = []
        self.strings: dict[str, int] = {}
        self._depth = 0

    def add_kind(self, kind: Kind) -> None:
        self.out.append(kind)

    def add_number(self, value: int) -> None:
        while value >= 0x80:
            self.out.append(value & 0x7F | 0x80)
            value >>= 7
        self.out.append(value)

    def add_string(self, text: str) -> None:
        self.add_number(self.strings.setdefault(text, len(self.strings)))

    def refuse(self, what: str, node: nodes.Node) -> None:
        self.beyond.append(f"{what} in line {node.lineno}")

    @contextmanager
    def inside(self, node: nodes.Node, levels: int = 1) -> Iterator[None]:
        """Raises TooDeepError, which `beyond` tells."""
        self._depth += levels
        if self._depth > MAX_DEPTH:
            self.refuse(f"something nested more than {MAX_DEPTH} deep", node)
            raise TooDeepError
        yield
        self._depth -= levels


def utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
