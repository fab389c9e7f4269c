"""The core's tables of Unicode are those of the tokenizers library that is installed."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import unicode_tables


@pytest.mark.slow
def test_the_tables_are_not_stale():
    made, nbytes = unicode_tables.source()
    written = unicode_tables.TARGET.read_text(encoding="utf-8")
    same = unicode_tables.without_version(written) == unicode_tables.without_version(made)
    assert same, "run python scripts/unicode_tables.py --write, unless the library is older than the file says"
    assert nbytes < 64 * 1024
