"""An error as OpenAI's API has it."""

from __future__ import annotations

from typing import Any

from qwen3edge.server.errors import Problem

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}


def error_body(problem: Problem) -> dict[str, Any]:
    """Of the response, or of a stream's last event."""
    kind = _TYPES.get(problem.status, "server_error" if problem.status >= 500 else "invalid_request_error")
    return {
        "error": {"message": problem.message, "type": kind, "param": problem.parameter, "code": problem.code}
    }  # fmt: skip
