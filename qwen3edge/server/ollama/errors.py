"""Errors in the form of Ollama's API."""

from __future__ import annotations

from typing import Any

from qwen3edge.server.errors import Problem


def error_body(problem: Problem) -> dict[str, Any]:
    """Of the response, or of a stream's last line."""
    return {"error": problem.message}
