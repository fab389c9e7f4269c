"""Errors in the form of Anthropic's API."""

from __future__ import annotations

from typing import Any

from qwen3edge.server.errors import Problem

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def error_body(problem: Problem) -> dict[str, Any]:
    """Of the response, or of a stream's last event. By the words "prompt is too long", and the numbers behind them,
    agents know that they have to shorten a conversation.
    """
    kind = _TYPES.get(problem.status, "api_error" if problem.status >= 500 else "invalid_request_error")
    message = problem.message
    if problem.sizes is not None:
        tokens, context = problem.sizes
        message = f"prompt is too long: {tokens} tokens > {context - 1} maximum: {message}"
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": problem.request_id}
