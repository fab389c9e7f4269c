"""The JSON Schema Test Suite, which jsonschema's source distribution carries: a schema is refused with a reason, or
nothing that the suite calls invalid is accepted.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from qwen3edge.errors import RequestError
from qwen3edge.grammar.definition import Definition, defined
from qwen3edge.grammar.vocabulary import Vocabulary
from tests.generation.fakes import END, ids, make_tokenizer
from tests.grammar.suite import read_suite

pytestmark = pytest.mark.slow

NOTHING = {"regex": None, "grammar": None, "one_of": None}

NOTES = (
    "content.json/validation of string-encoded content based on media type",
    "content.json/validation of binary string-encoding",
    "content.json/validation of binary-encoded media type documents",
)
"""contentMediaType and contentEncoding, which are notes since 2019-09, and which draft 7 leaves to programs."""

NO_BLANK = '"\ufeff"'
"""Of regexes, whose classes are Rust's: that one is a blank in ECMA's alone."""

REASONS = {
    r"Unimplemented keys: \[(.+)\]": (),
    r"Expected (?:positive integer|array) for '(\w+)'": (),
    r"found '(\w+)', which is of draft 3": (),
    r"found '([^']+)', which nobody knows": (),
    r"Unknown format: (\S+)\.": ("format",),
    r"oneOf constraints": ("oneOf",),
    r"patternProperty regexes": ("patternProperties",),
    r"regex for \w+ range: min=.+, max=": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    r"multipleOf of at most": ("multipleOf",),
    r"regex parse error: |look-?around": ("pattern", "patternProperties"),
    r"Invalid type: |type must be a string": ("type",),
    r"no \$id beside a \$ref, found '": ("$ref",),
    r"Resource '.+' is not present|Anchor '.+' does not exist": ("$ref", "$dynamicRef", "$recursiveRef", "$schema"),
    r"Unsatisfiable schema|found False": (),
}
"""What llguidance, or we, say of a schema; of which keywords, if it is not the keyword that they name."""


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> dict[str, Any]:
    """Groups of tests by draft, file and description."""
    try:
        return read_suite(tmp_path_factory.mktemp("suite"))
    except FileNotFoundError as error:
        pytest.skip(str(error))


def texts(data: object) -> Iterator[str]:
    """An instance as JSON, compact and with blanks, its keys in several orders."""
    orders: list[Any] = [data]
    if isinstance(data, dict):
        orders = [dict(order) for order in itertools.islice(itertools.permutations(data.items()), 24)]
    for each in orders:
        yield json.dumps(each, ensure_ascii=False, separators=(",", ":"))
        yield json.dumps(each, ensure_ascii=False)
        yield json.dumps(each, ensure_ascii=False, indent=2)


def words_of(schema: object) -> Iterator[str]:
    """Keys and texts."""
    if isinstance(schema, str):
        yield schema
    for each in schema if isinstance(schema, dict | list) else ():
        yield from words_of(each)
    for each in schema.values() if isinstance(schema, dict) else ():
        yield from words_of(each)


def test_a_reason_must_be_the_schemas_own():
    said = (
        "json_schema: expected what llguidance can hold an answer to, found: {}. Nothing is passed over: leave it out"
    )
    unknown = said.format('Unimplemented keys: ["if", "then"]')
    assert names_what_is_refused(unknown, {"if": {}, "then": {}}) and not names_what_is_refused(unknown, {"if": {}})
    assert not names_what_is_refused(said.format("oneOf constraints are not supported"), {"anyOf": []})
    assert not names_what_is_refused(said.format("it is too hard"), {"not": {}})


def names_what_is_refused(message: str, schema: object) -> bool:
    """A keyword of the schema, a format, a type, a reference, or that nothing matches; of a reference to a draft's own
    schema, what stands there.
    """
    words = set(words_of(schema))
    elsewhere = re.search(r'"\$ref": "https?://json-schema\.org/draft', json.dumps(schema)) is not None
    for reason, keywords in REASONS.items():
        if (found := re.search(reason, message)) and message.startswith("json_schema: expected "):
            named = re.findall(r"[\w$-]+", found[1]) if found.re.groups and found[1] else []
            return elsewhere or (set(named) <= words and (not keywords or not words.isdisjoint(keywords)))
    return False


def test_nothing_invalid_is_accepted(suite):
    vocabulary = Vocabulary(make_tokenizer(), [END])
    refused, held, wrong, unnamed, missed, invalid = 0, 0, [], [], 0, 0
    for name, group in suite.items():
        try:
            definition = defined({"json_schema": group["schema"], **NOTHING})
            assert isinstance(definition, Definition)
            vocabulary.matcher(definition)
        except RequestError as error:
            if not names_what_is_refused(str(error), group["schema"]):
                unnamed.append(f"{name}: {error}")
            refused += 1
            continue
        held += 1
        for test in group["tests"]:
            accepted = []
            for text in texts(test["data"]):
                matcher = vocabulary.matcher(definition)
                tokens = ids(text)
                if matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting():
                    accepted.append(text)
            invalid += not test["valid"]
            if accepted and not test["valid"] and not name.endswith(NOTES) and accepted != [NO_BLANK] * len(accepted):
                wrong.append(f"{name}: {test['description']}")
            missed += test["valid"] and not accepted
    print(f"{held} schemas held to, {refused} refused, {invalid} invalid instances, {missed} valid ones not accepted")
    assert held > 800 and refused > 500 and invalid > 1000
    assert unnamed == []
    assert wrong == []
