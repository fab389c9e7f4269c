"""Writes the table of every endpoint's parameters into docs/server.md: python -m scripts.parameters."""

from __future__ import annotations

from pathlib import Path

from qwen3edge.server import app, endpoints
from qwen3edge.server.ollama.options import OllamaOptions
from qwen3edge.server.parameters import table
from qwen3edge.server.route import BODIES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "server.md"
BEGIN, END = "<!-- parameters -->\n", "\n<!-- end of parameters -->"


def written(page: str) -> str:
    """The page with the table of the endpoints that the application has."""
    assert app.FIRST and endpoints.OTHERS, "all of which add to BODIES"
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end, f"expected the table's marks in {PAGE}"
    return before + begin + table([*sorted(BODIES.items(), key=_place), ("options", OllamaOptions)]) + end + after


def _place(endpoint: tuple[str, object]) -> tuple[bool, str]:
    """Those of OpenAI and Anthropic first."""
    return not endpoint[0].startswith("/v1/"), endpoint[0]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
