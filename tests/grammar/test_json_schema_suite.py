"""The JSON Schema Test Suite, which jsonschema's source distribution carries: a schema is refused with a reason, or
nothing that the suite calls invalid is accepted.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from qwen3edge.errors import RequestError
from qwen3edge.grammar.definition import Definition, defined
from qwen3edge.grammar.vocabulary import Vocabulary
from tests.generation.fakes import END, ids, make_tokenizer

pytestmark = pytest.mark.slow

DRAFTS = ("draft4", "draft6", "draft7", "draft2019-09", "draft2020-12")
NOTHING = {"regex": None, "grammar": None, "one_of": None}


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> dict[str, Any]:
    """Groups of tests by draft, file and description."""
    folder = tmp_path_factory.mktemp("suite")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    command += ["--dest", str(folder), f"jsonschema=={version('jsonschema')}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip has no source distribution of jsonschema here: {done.stderr.strip()[-200:]}")
    found = {}
    with tarfile.open(next(folder.glob("jsonschema-*.tar.gz"))) as archive:
        for member in archive:
            parts = Path(member.name).parts[1:]
            if parts[:2] == ("json", "tests") and len(parts) == 4 and parts[2] in DRAFTS and member.isfile():
                for group in json.load(archive.extractfile(member)):
                    found["/".join((*parts[2:], group["description"]))] = group
    return found


def texts(data: object) -> Iterator[str]:
    """An instance as JSON, compact and with blanks, its keys in several orders."""
    orders: list[Any] = [data]
    if isinstance(data, dict):
        orders = [dict(order) for order in itertools.islice(itertools.permutations(data.items()), 24)]
    for each in orders:
        yield json.dumps(each, ensure_ascii=False, separators=(",", ":"))
        yield json.dumps(each, ensure_ascii=False)
        yield json.dumps(each, ensure_ascii=False, indent=2)


def test_nothing_invalid_is_accepted(suite):
    vocabulary = Vocabulary(make_tokenizer(), [END])
    refused, held, wrong, missed, invalid = 0, 0, [], 0, 0
    for name, group in suite.items():
        try:
            definition = defined({"json_schema": group["schema"], **NOTHING})
            assert isinstance(definition, Definition)
            vocabulary.matcher(definition)
        except RequestError as error:
            assert "json_schema: expected" in str(error) and len(str(error)) > 40
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
            if accepted and not test["valid"]:
                wrong.append(f"{name}: {test['description']}")
            missed += test["valid"] and not accepted
    print(f"{held} schemas held to, {refused} refused, {invalid} invalid instances, {missed} valid ones not accepted")
    assert held > 500 and invalid > 500
    assert wrong == []
