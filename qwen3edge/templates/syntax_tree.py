"""A chat template's syntax tree as bytes (docs/format.md), which csrc/template runs without jinja2.

jinja2 parses the template. Whatever is not listed here is named, and the template stays with jinja2.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from jinja2 import nodes

from qwen3edge.templates.early_reads import inner_blocks, read_before_set
from qwen3edge.templates.node_kinds import Kind
from qwen3edge.templates.sandbox import BoundedSandbox
from qwen3edge.templates.tree_bytes import TooDeepError, utf8
from qwen3edge.templates.tree_expressions import ExpressionWriter

VERSION = 1


@dataclass(frozen=True)
class SyntaxTree:
    """data: None if only jinja2 runs the template. beyond: why, each with its line."""

    data: bytes | None
    beyond: tuple[str, ...]


def syntax_tree(source: str) -> SyntaxTree:
    """Of a template that compiles. Raises TemplateError for another."""
    sandbox = BoundedSandbox()
    sandbox.compile_bounded(source)
    writer = _Writer()
    data = None
    with suppress(TooDeepError):
        data = writer.write(source, sandbox.plain_tree(source))
    beyond = tuple(dict.fromkeys(writer.beyond))
    return SyntaxTree(None if beyond else data, beyond)


class _Writer(ExpressionWriter):
    """A template's statements, and the expressions in them."""

    def __init__(self) -> None:
        super().__init__()
        self._loops = self._scopes = 0

    def write(self, source: str, tree: nodes.Template) -> bytes:
        """Of no use if anything was beyond."""
        for block in inner_blocks(tree):
            for name, line in read_before_set(block):
                self.beyond.append(f"the name {name!r:.60} in line {line}, which is set later on")
        own = list(read_before_set(tree))
        self.add_number(len(own))
        for name, _ in own:
            self.add_string(name)
        self._block(tree.body)
        body, self.out = self.out, bytearray()
        self.add_number(VERSION)
        self.out += struct.pack("<I", zlib.crc32(utf8(source)))
        self.add_number(len(self.strings))
        for text in self.strings:
            data = utf8(text)
            self.add_number(len(data))
            self.out += data
        return bytes(self.out + body)

    def _block(self, body: Sequence[nodes.Node]) -> None:
        statements = list(_statements(body))
        self.add_number(len(statements))
        for statement in statements:
            with self.inside(statement, 2):
                self._statement(statement)

    def _scoped(self, body: Sequence[nodes.Node], *, loop: bool = False, captured: bool = False) -> None:
        """A block in which `set` stays inside. loop: of one. captured: what it puts out is."""
        loops, self._loops = self._loops, 0 if captured else self._loops + loop
        self._scopes += 1
        self._block(body)
        self._scopes -= 1
        self._loops = loops

    def _statement(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.TemplateData):
            self.add_kind(Kind.TEXT)
            self.add_string(node.data)
        elif isinstance(node, nodes.Expr):
            self.add_kind(Kind.PRINT)
            self.expression(node)
        elif isinstance(node, nodes.If):
            self._choice(node)
        elif isinstance(node, nodes.For):
            self._loop(node)
        elif isinstance(node, nodes.Assign):
            self.add_kind(Kind.SET)
            self._target(node.target)
            self.expression(node.node)
        elif isinstance(node, nodes.AssignBlock):
            self.add_kind(Kind.SET_BLOCK)
            self._target(node.target)
            self.expression_or_captured(node.filter)
            self._scoped(node.body, captured=True)
        elif isinstance(node, nodes.Macro):
            self._macro(node)
        elif isinstance(node, nodes.Scope):
            self.add_kind(Kind.SCOPE)
            self._scoped(node.body)
        elif isinstance(node, nodes.Break | nodes.Continue):
            self.add_kind(Kind.LEAVE if isinstance(node, nodes.Break) else Kind.AGAIN)
            if not self._loops:
                self.refuse("break or continue inside a block of a loop", node)
        else:
            self.refuse(f"the statement {type(node).__name__}", node)

    def _choice(self, node: nodes.If) -> None:
        branches = [(one.test, one.body) for one in (node, *node.elif_)]
        self.add_kind(Kind.CHOICE)
        self.add_number(len(branches) + bool(node.else_))
        for test, body in branches:
            with self.inside(node):
                self.expression(test)
                self._block(body)
        if node.else_:
            self.add_kind(Kind.ABSENT)
            with self.inside(node):
                self._block(node.else_)

    def _loop(self, node: nodes.For) -> None:
        if node.recursive:
            self.refuse("a recursive loop", node)
        if node.test is not None and any(name.name == "loop" for name in _all(node.test, nodes.Name)):
            self.refuse("the name 'loop' in a loop's test", node)
        self.add_kind(Kind.LOOP)
        self._target(node.target)
        self.expression(node.iter)
        self.optional(node.test)
        self._scoped(node.body, loop=True)
        self._scoped(node.else_)
        self.add_string("loop")

    def _macro(self, node: nodes.Macro) -> None:
        if self._scopes:
            self.refuse(f"the macro {node.name!r:.60} inside another block", node)
        self.add_kind(Kind.MACRO)
        self.add_string(node.name)
        self._scoped(node.body, captured=True)
        defaults = [None] * (len(node.args) - len(node.defaults)) + node.defaults
        self.add_number(len(node.args))
        for argument, default in zip(node.args, defaults, strict=True):
            self.check_name(argument)
            self.add_string(argument.name)
            self.optional(default)

    def _target(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.Name):
            self.add_kind(Kind.TO_NAME)
            self.add_string(node.name)
        elif isinstance(node, nodes.NSRef):
            self.add_kind(Kind.TO_ATTRIBUTE)
            self.add_string(node.name)
            self.add_string(node.attr)
        elif isinstance(node, nodes.Tuple):
            self.add_kind(Kind.TO_SEVERAL)
            self.add_number(len(node.items))
            for item in node.items:
                with self.inside(item):
                    self._target(item)
        else:
            self.refuse(f"an assignment to {type(node).__name__}", node)


def _statements(body: Sequence[nodes.Node]) -> Iterator[nodes.Node]:
    """Those of a block, each text and each expression that is put out by itself."""
    for node in body:
        if isinstance(node, nodes.Output):
            yield from node.nodes
        else:
            yield node


def _all(node: nodes.Node, kind: type[nodes.Name]) -> Iterator[nodes.Name]:
    if isinstance(node, kind):
        yield node
    yield from node.find_all(kind)
