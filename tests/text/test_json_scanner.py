"""What the core takes for JSON, against Python's json module."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3edge import _core
from tests.reference.tool_calls import BLANKS, MOST_DEPTH, MOST_DIGITS, read_json_text

KINDS = {dict: "object", list: "array", str: "string", float: "number", bool: "boolean", type(None): "null"}


def expected(text: str) -> str | None:
    try:
        return KINDS[type(read_json_text(text))]
    except ValueError:
        return None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES, st.booleans(), st.sampled_from([None, (",", ":"), (" ,\n", "\t: ")]), st.sampled_from(["", " ", "\r\n"]))
def test_every_value_is_json(value, ascii_only, separators, around):
    text = around + json.dumps(value, ensure_ascii=ascii_only, separators=separators) + around
    found = _core.json_kind(text)
    assert found == KINDS[float if type(value) is int else type(value)] == expected(text)


@settings(max_examples=300)
@given(
    VALUES,
    st.integers(0, 10**6),
    st.text(st.sampled_from('{}[],:"\\u00d8-+.eE01tfnrl \n\x00\x1fNé'), max_size=3),
    st.integers(0, 3),
)
def test_damaged_values(value, at, put, left_out):
    """With characters put in, and as many left out, anywhere."""
    text = json.dumps(value)
    at %= len(text) + 1
    damaged = text[:at] + put + text[at + left_out :]
    assert _core.json_kind(damaged) == expected(damaged)


@settings(max_examples=1000)
@given(st.text(st.sampled_from('{}[],:"\\/bu00d8-+.eE01 \n'), max_size=12))
def test_any_text(text):
    assert _core.json_kind(text) == expected(text)


NONE = [
    "", BLANKS, "nul", "nulll", "NaN", "Infinity", "-", "+1", "01", "-01", "1.", ".1", "1e", "1e+", "1 1", "{} {}",
    "{]", "[1,]", '{"a":1,}', "{a:1}", "{'a':1}", '{"a" 1}', '"\n"', '"\\x"', '"\\u12g4"',
    '"a', "True", "\ufeff1", "\u00a01",
    "[1}", '{"a":}', "//1",
]  # fmt: skip


@pytest.mark.parametrize("text", NONE)
def test_what_is_none(text):
    assert _core.json_kind(text) is None and expected(text) is None


@pytest.mark.parametrize("brackets", ["[]", '{"a":1}'])
def test_depth(brackets):
    def nested(depth: int) -> str:
        opening, inner, closing = ("[", "", "]") if brackets == "[]" else ('{"a":', "1", "}")
        return opening * depth + inner + closing * depth

    for depth in (1, MOST_DEPTH, MOST_DEPTH + 1, 100_000):
        assert (_core.json_kind(nested(depth)) is not None) == (depth <= MOST_DEPTH)


@pytest.mark.parametrize("number", ["{}", "-{}", "1.{}", "1e{}"])
def test_digits(number):
    for digits in (MOST_DIGITS - 1, MOST_DIGITS, MOST_DIGITS + 1):
        text = number.format("1" * digits)
        count = sum(map(str.isdigit, text))
        assert (_core.json_kind(text) == "number") == (count <= MOST_DIGITS)
