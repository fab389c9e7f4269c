"""docs/gguf.md says what the code does."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import gguf_tables


def test_the_tables_are_not_stale():
    text = gguf_tables.DOCS.read_text(encoding="utf-8")
    assert gguf_tables.written(text) == text, "run python scripts/gguf_tables.py --write"


def test_a_page_without_marks():
    with pytest.raises(ValueError, match="marks"):
        gguf_tables.written("nothing")
