"""Damaged and random syntax trees are refused or run within their bounds: nothing of them crashes."""

import random
import struct
import zlib

import pytest

from qwen3edge import _core
from qwen3edge.errors import FileFormatError, TemplateError, UnsupportedModelError
from qwen3edge.templates.node_kinds import Kind
from qwen3edge.templates.runnable import FILTERS, METHODS, TESTS
from qwen3edge.templates.syntax_tree import VERSION, syntax_tree
from tests.templates.corpus import SOURCES

TREES = {name: syntax_tree(source).data for name, source in SOURCES.items()}
VARIABLES = {
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "f", "arguments": {"x": [1, None]}}}],
        },
        {"role": "tool", "content": "rain"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"x": {"type": "string"}}}}}],
    "add_generation_prompt": True,
    "a": 2,
    "b": "text é",
    "c": [3, "x", {"a": 1.5}],
}


def outcome(data: bytes, source: str) -> str:
    try:
        tree = _core.TemplateTree(data, source)
    except (FileFormatError, UnsupportedModelError) as error:
        assert str(error).startswith("the chat template's tree: ")
        return "refused"
    try:
        tree.render(VARIABLES, 100_000)
    except (TemplateError, UnsupportedModelError):
        return "failed"
    return "ran"


def test_every_cut():
    source = SOURCES["qwen2_5"]
    data = TREES["qwen2_5"]
    for length in range(len(data)):
        assert outcome(data[:length], source) == "refused"
    assert outcome(data + b"\0", source) == "refused"
    assert outcome(data, source) == "ran"


def test_of_another_template_or_version():
    with pytest.raises(FileFormatError, match="another template's"):
        _core.TemplateTree(TREES["qwen2_5"], SOURCES["qwq"])
    with pytest.raises(UnsupportedModelError, match="expected version 1, found 2"):
        _core.TemplateTree(b"\x02" + TREES["qwen2_5"][1:], SOURCES["qwen2_5"])


@pytest.mark.parametrize("seed", range(3))
def test_damaged(seed):
    pick = random.Random(seed)
    names, found = sorted(TREES), []
    for _ in range(1000):
        name = pick.choice(names)
        data = bytearray(TREES[name])
        for _ in range(pick.randrange(1, 4)):
            at = pick.randrange(5, len(data))
            kind = pick.randrange(4)
            if kind == 0:
                data[at] = pick.randrange(256)
            elif kind == 1:
                data[at] ^= 1 << pick.randrange(8)
            elif kind == 2:
                del data[at : at + pick.randrange(1, 9)]
            else:
                other = TREES[pick.choice(names)]
                begin = pick.randrange(len(other))
                data[at:at] = other[begin : begin + pick.randrange(1, 40)]
        found.append(outcome(bytes(data), SOURCES[name]))
    print(f"seed {seed}: { ({each: found.count(each) for each in set(found)}) }")
    assert found.count("refused") > 300 and found.count("ran") + found.count("failed") > 30


class Tree:
    """A random one that a reader takes."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._filters = sorted({canonical: len(parameters) for canonical, parameters in FILTERS.values()}.items())
        self._tests = sorted(set(TESTS.values()))
        self._names = ["a", "b", "c", "messages", "loop", "namespace", "range", "dict", "raise_exception", "ns", "m"]
        self._texts = ["", "x", "é", "n", "role", "0", "a.b", *sorted(METHODS), "index", "last", "length", "nextitem"]
        self._strings = [*self._names, *self._texts, *(n for n, _ in self._filters), *(n for n, _ in self._tests)]

    def data(self) -> bytes:
        body = self._block(3)
        strings = b"".join(_number(len(text.encode())) + text.encode() for text in self._strings)
        return (
            bytes([VERSION]) + struct.pack("<I", zlib.crc32(b"")) + _number(len(self._strings)) + strings + b"\0" + body
        )

    def _string(self, text: str) -> bytes:
        return _number(self._strings.index(text))

    def _name(self) -> bytes:
        return self._string(self._random.choice(self._names))

    def _many(self, make, most: int = 3) -> bytes:
        count = self._random.randrange(most)
        return _number(count) + b"".join(make() for _ in range(count))

    def _block(self, depth: int) -> bytes:
        return self._many(lambda: self._statement(depth), 6)

    def _statement(self, depth: int) -> bytes:
        pick = self._random
        kind = pick.choice(
            [Kind.TEXT, *[Kind.PRINT] * 6, Kind.SET, Kind.SET, Kind.CHOICE, Kind.LOOP, Kind.SET_BLOCK, Kind.MACRO]
        )
        if depth == 0 and kind in (Kind.CHOICE, Kind.LOOP, Kind.SET_BLOCK, Kind.MACRO):
            kind = Kind.PRINT
        head = bytes([kind])
        if kind == Kind.TEXT:
            return head + self._string(pick.choice(self._texts))
        if kind == Kind.PRINT:
            return head + self._expression(4)
        if kind == Kind.SET:
            return head + self._target() + self._expression(3)
        if kind == Kind.CHOICE:
            return head + self._many(lambda: self._expression(2) + self._block(depth - 1))
        if kind == Kind.LOOP:
            test = bytes([Kind.ABSENT]) if pick.random() < 0.6 else self._expression(2)
            blocks = self._block(depth - 1) + self._block(depth - 1)
            return head + self._target() + self._expression(2) + test + blocks + self._string("loop")
        if kind == Kind.SET_BLOCK:
            return head + self._target() + bytes([Kind.CAPTURED]) + self._block(depth - 1)
        parameters = self._many(
            lambda: self._name() + (bytes([Kind.ABSENT]) if pick.random() < 0.5 else self._expression(1))
        )
        return head + self._string("m") + self._block(depth - 1) + parameters

    def _target(self) -> bytes:
        pick = self._random.random()
        if pick < 0.7:
            return bytes([Kind.TO_NAME]) + self._name()
        if pick < 0.9:
            return bytes([Kind.TO_ATTRIBUTE]) + self._name() + self._string(self._random.choice(self._texts))
        return bytes([Kind.TO_SEVERAL]) + self._many(self._target)

    def _expression(self, depth: int) -> bytes:
        pick = self._random
        if depth == 0 or pick.random() < 0.2:
            kind = pick.choice(
                [Kind.NONE, Kind.TRUE, Kind.INTEGER, Kind.REAL, Kind.STRING, *[Kind.NAME] * 6, Kind.MISSING]
            )
            value = {Kind.INTEGER: lambda: _number(pick.choice([0, 1, 2, 3, 4, 9, 2**62])), Kind.NAME: self._name,
                     Kind.REAL: lambda: struct.pack("<d", pick.choice([0.0, 1.5, -1e300, float("nan")]))}  # fmt: skip
            text = lambda: self._string(pick.choice(self._texts))  # noqa: E731
            return bytes([kind]) + (value.get(kind, text)() if kind in (*value, Kind.STRING, Kind.MISSING) else b"")
        deeper = lambda: self._expression(depth - 1)  # noqa: E731
        optional = lambda: bytes([Kind.ABSENT]) if pick.random() < 0.5 else deeper()  # noqa: E731
        kind = pick.choice([kind for kind in Kind if Kind.LIST <= kind <= Kind.CHOOSE and kind not in (43, 60)])
        head = bytes([kind])
        if kind in (Kind.LIST, Kind.TUPLE, Kind.CONCATENATION):
            return head + self._many(deeper)
        if kind == Kind.DICT:
            return head + self._many(lambda: bytes([Kind.STRING]) + self._string(pick.choice(self._texts)) + deeper())
        if kind in (Kind.FILTER, Kind.MAP_FILTER):
            name, count = pick.choice(self._filters)
            return head + self._string(name) + deeper() + b"".join(optional() for _ in range(count))
        if kind in (Kind.TEST, Kind.CHOOSE):
            name, count = pick.choice(self._tests)
            test = self._string(name) + b"".join(deeper() for _ in range(count))
            if kind == Kind.TEST:
                return head + deeper() + test
            return (
                head
                + bytes([pick.randrange(2)])
                + deeper()
                + optional()
                + (b"\0" if pick.random() < 0.3 else b"\1" + test)
            )
        if kind == Kind.CALL:
            called = bytes([Kind.ATTRIBUTE]) + deeper() + self._string(pick.choice(self._texts))
            called = called if pick.random() < 0.6 else bytes([Kind.NAME]) + self._name()
            return head + called + self._many(deeper) + self._many(lambda: self._name() + deeper(), 2)
        if kind == Kind.ATTRIBUTE:
            return head + deeper() + self._string(pick.choice(self._texts))
        if kind == Kind.SLICE:
            return head + deeper() + optional() + optional() + optional()
        if kind == Kind.COMPARISON:
            return head + deeper() + self._many(lambda: bytes([pick.randrange(8)]) + deeper())
        if kind == Kind.ARITHMETIC:
            return head + bytes([pick.randrange(6)]) + deeper() + deeper()
        count = {Kind.CONDITION: 3, Kind.NEGATION: 1, Kind.MINUS: 1, Kind.PLUS: 1}.get(kind, 2)
        return head + b"".join(deeper() for _ in range(count))


def _number(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def test_random():
    found = [outcome(Tree(seed).data(), "") for seed in range(400)]
    print({each: found.count(each) for each in set(found)})
    assert found.count("refused") == 0 and found.count("ran") > 50 and found.count("failed") > 50


@pytest.mark.parametrize("kind", [Kind.LIST, Kind.NEGATION, Kind.SCOPE])
def test_nested_without_end(kind):
    inner = {Kind.LIST: bytes([Kind.PRINT]), Kind.NEGATION: bytes([Kind.PRINT]), Kind.SCOPE: b""}[kind]
    step = bytes([kind]) if kind == Kind.NEGATION else bytes([kind, 1])
    data = bytes([VERSION]) + struct.pack("<I", zlib.crc32(b"")) + b"\0\0\1" + inner + step * 100_000
    with pytest.raises(FileFormatError, match="200 deep"):
        _core.TemplateTree(data, "")
