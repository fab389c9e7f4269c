"""What is added to a schema for llguidance, and what is refused: of draft 3, and what nobody knows."""

from __future__ import annotations

import calendar

import pytest

from qwen3edge.errors import RequestError
from qwen3edge.grammar.definition import OPTIONS, defined
from qwen3edge.grammar.vocabulary import Vocabulary
from tests.generation.fakes import END, ids, make_tokenizer


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(make_tokenizer(), [END])


def accepts(vocabulary: Vocabulary, schema: dict, text: str) -> bool:
    definition = defined({**dict.fromkeys(OPTIONS), "json_schema": schema})
    assert definition is not None
    matcher = vocabulary.matcher(definition)
    tokens = ids(f'"{text}"')
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def test_dates_of_leap_years(vocabulary):
    for year in (4, 1900, 2000, 2023, 2024, 2100, 2400, 9996):
        leap = calendar.isleap(year)
        assert accepts(vocabulary, {"format": "date"}, f"{year:04}-02-29") == leap
        assert accepts(vocabulary, {"type": "string", "format": "date-time"}, f"{year:04}-02-29T10:20:59Z") == leap
    for month in range(1, 13):
        last = calendar.monthrange(2023, month)[1]
        for day in (0, 1, last, last + 1):
            held = 0 < day <= last
            assert accepts(vocabulary, {"format": "date"}, f"2023-{month:02}-{day:02}") == held, (month, day)


def test_no_second_60(vocabulary):
    for text, held in (("23:59:59Z", True), ("08:30:06.5+01:00", True), ("23:58:60Z", False), ("24:00:00Z", False)):
        assert accepts(vocabulary, {"format": "time"}, text) == held
        assert accepts(vocabulary, {"format": "date-time"}, f"2024-02-28T{text}") == held


def test_beside_what_the_schema_says_itself(vocabulary):
    schema = {"format": "date", "pattern": "^2", "allOf": [{"pattern": "9$"}], "minLength": 10}
    texts = {"2024-02-29": True, "2023-02-29": False, "1996-02-29": False, "2024-02-28": False}
    assert {text: accepts(vocabulary, schema, text) for text in texts} == texts


@pytest.mark.parametrize("key, value", [("disallow", "integer"), ("divisibleBy", 2), ("extends", {"type": "string"})])
def test_keywords_of_draft_3(vocabulary, key, value):
    """They are names and data elsewhere."""
    for schema in ({key: value}, {"properties": {"a": {"items": [{key: value}]}}}, {"$defs": {key: {key: value}}}):
        with pytest.raises(RequestError, match=f"json_schema: expected .* of draft 4 or later, found '{key}'"):
            defined({**dict.fromkeys(OPTIONS), "json_schema": schema})
    named = {"properties": {key: {"const": {key: value}, "description": key}}, "required": [key]}
    assert defined({**dict.fromkeys(OPTIONS), "json_schema": named}) is not None


def test_unknown_keywords(vocabulary):
    for schema in ({"minItem": 1}, {"anyOf": [{"properties": {"a": {"minItem": 1}}}]}):
        with pytest.raises(RequestError, match="json_schema: expected keywords of JSON Schema, found 'minItem'"):
            defined({**dict.fromkeys(OPTIONS), "json_schema": schema})
    notes = {"properties": {"minItem": {"x-order": 1, "default": {"minItem": 1}, "nullable": True, "title": "a"}}}
    assert defined({**dict.fromkeys(OPTIONS), "json_schema": notes}) is not None
