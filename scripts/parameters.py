"""Writes the table of every endpoint's parameters into docs/server.md: python -m scripts.parameters."""

from __future__ import annotations

from pathlib import Path

from qwen3edge.server import app
from qwen3edge.server.ollama.options import OllamaOptions
from qwen3edge.server.parameters import table
from qwen3edge.server.route import BODIES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "server.md"
BEGIN, END = "<!-- parameters -->\n", "\n<!-- end of parameters -->"


def written(page: str) -> str:
    """The page with the table of the endpoints that the application has."""
    assert app.ROUTES, "the endpoints"
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end, f"expected the table's marks in {PAGE}"
    return before + begin + table([*BODIES.items(), ("options", OllamaOptions)]) + end + after


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
