"""The parts of bench/quality.py that need no measurement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import quality
from chats import Chat
from quality import BEGIN, DEFAULT_FORMATS, END, Divergence

from qwen3edge.convert import RECIPES

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "decisions" / "block-formats.md"


def test_recipes_by_name() -> None:
    assert quality.find_recipe("int8") == RECIPES["int8"]
    assert [rule.format for rule in quality.find_recipe("q4z32+q6z32").rules] == ["q6z32", "q6z32", "q4z32"]
    with pytest.raises(KeyError):
        quality.find_recipe("q3")


def test_divergence_of_answers() -> None:
    """Two tokens of prompt, two of answer: the positions 1 and 2 predict the answer."""
    same = np.zeros((4, 2), np.float32)
    other = same.copy()
    other[2] = np.log([0.25, 0.75])
    kl = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    divergence = Divergence()
    divergence.add(Chat((1, 2, 3, 4), 2), same, other)
    found = divergence.to_dict()
    assert found["kl"] == pytest.approx(kl / 4)
    assert found["kl_answers"] == pytest.approx(kl / 2)
    assert found["top1"] == 0.75


def test_only_the_marked_part_is_replaced(tmp_path: Path) -> None:
    result = {
        "tokens": 1, "chats": 1, "answer_tokens": 1, "records": 1, "bf16_accuracy": 50.0,
        "formats": [], "blocks": [], "kv": [], "kinds": [], "speed": [{"format": "q8", "decode": "1.00"}],
    }  # fmt: skip
    path = tmp_path / "page.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    for _ in range(2):
        quality.write_markdown(path, result)
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"before\n{BEGIN}\n")
        assert text.endswith(f"{END}\nafter\n")
        assert "old" not in text
        assert text.count("| q8 | 1.00 |") == 1
    path.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="expected the marks"):
        quality.write_markdown(path, result)


def test_the_page_has_every_format() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    missing = [name for name in DEFAULT_FORMATS if f"{name} | " not in text]
    assert not missing, f"run bench/quality.py again: {missing}"
