"""What a server refuses beyond what a model does, and the HTTP status of every error of ours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from qwen3edge.errors import (
    BusyError,
    ContextError,
    GrammarError,
    HubError,
    MemoryBudgetError,
    Qwen3EdgeError,
    RequestError,
    TemplateError,
    UnsupportedModelError,
    shown,
)


class ServerError(Qwen3EdgeError):
    """Base of those that only a server raises. status: of HTTP. code: in OpenAI's words, for programs. retry_after:
    seconds, after which the same request may succeed.
    """

    status = 500
    code = "server_error"
    retry_after: int | None = None


class BodyError(ServerError):
    """A body that is no request of this endpoint. parameter: the one that is wrong, if it is one."""

    status, code = 400, "invalid_request"

    def __init__(self, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class UnknownModelError(ServerError):
    """A model that is not served."""

    status, code = 404, "model_not_found"

    def __init__(self, name: str, served: Sequence[str]) -> None:
        super().__init__(f"expected one of the models that are served, {', '.join(served)}, found {shown(name)}")


class NotFoundError(ServerError):
    """What does not exist, or not here."""

    status, code = 404, "not_found"


class MethodError(ServerError):
    """A path that is asked in another way."""

    status, code = 405, "method_not_allowed"


class ConflictError(ServerError):
    """What there is does not go with what is asked."""

    status, code = 409, "conflict"


class StorageError(ServerError):
    """The disk takes no more."""

    status, code = 507, "insufficient_storage"


class ClientLeftError(ServerError):
    """Nobody waits for the response any more."""

    status, code = 499, "client_left"


class TooLargeError(ServerError):
    """A body larger than any request that fits."""

    status, code = 413, "request_too_large"


class TooSlowError(ServerError):
    """A body that does not come."""

    status, code = 408, "request_timeout"


class EncodingError(ServerError):
    """A body that is packed: what comes out of one has no bound."""

    status, code = 415, "unsupported_encoding"


class InUseError(ServerError):
    """The memory that a request needs is in use by others."""

    status, code, retry_after = 429, "memory_in_use", 5


class ForbiddenError(ServerError):
    """A Host or an Origin that is not allowed."""

    status, code = 403, "forbidden"


class KeyRequiredError(ServerError):
    """No API key, or a wrong one."""

    status, code = 401, "invalid_api_key"

    def __init__(self) -> None:
        super().__init__("expected the server's API key (Authorization: Bearer KEY, or x-api-key: KEY)")


class StoppingError(ServerError):
    """The server ends."""

    status, code, retry_after = 503, "stopping", 10

    def __init__(self) -> None:
        super().__init__("the server is stopping: ask again when it is back")


def new_request_id() -> str:
    """By which a client may speak of its request."""
    return f"req_{os.urandom(12).hex()}"


@dataclass(frozen=True)
class Problem:
    """An error as HTTP has it; every API gives it a form of its own. sizes: of a prompt that does not fit, and of the
    context, in tokens.
    """

    status: int
    code: str
    message: str
    parameter: str | None = None
    retry_after: int | None = None
    sizes: tuple[int, int] | None = None
    request_id: str = field(default_factory=new_request_id)

    @property
    def headers(self) -> dict[str, str]:
        """Of the response."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return {**headers, "WWW-Authenticate": "Bearer"} if self.status == 401 else headers


_OURS: list[tuple[type[Exception], int, str]] = [  # the first that matches
    (ContextError, 400, "context_length_exceeded"),
    (RequestError, 400, "invalid_request"),
    (TemplateError, 400, "template_error"),
    (UnsupportedModelError, 400, "unsupported"),
    (GrammarError, 400, "grammar_too_large"),
    (MemoryBudgetError, 400, "does_not_fit"),
    (HubError, 502, "hub_failed"),
]


def problem(error: Exception) -> Problem:
    """What a client is told of an error. What is none of ours is a fault of the server, and its words stay here."""
    if isinstance(error, ServerError):
        parameter = error.parameter if isinstance(error, BodyError) else None
        return Problem(error.status, error.code, str(error), parameter, error.retry_after)
    if isinstance(error, BusyError):
        return Problem(429, "queue_full", str(error), None, 1)
    for kind, status, code in _OURS:
        if isinstance(error, kind):
            sizes = (error.tokens, error.context) if isinstance(error, ContextError) else None
            return Problem(status, code, str(error), sizes=sizes)
    if isinstance(error, Qwen3EdgeError):
        return Problem(500, "server_error", str(error))
    return Problem(500, "server_error", f"expected an answer, found an error of the server ({type(error).__name__})")
