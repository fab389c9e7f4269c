"""The stop strings of a request; `_core.AnswerText` looks for them."""

from __future__ import annotations

from collections.abc import Sequence

from qwen3edge.errors import RequestError, shown

MAX_STOPS = 64
MAX_STOP_CHARACTERS = 1024


def checked_stops(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """The stop strings of a request. Raises RequestError for empty, too long or too many ones."""
    stops = () if stop is None else (stop,) if isinstance(stop, str) else stop
    if not isinstance(stops, list | tuple):
        raise RequestError(f"expected stop as a string or a list of strings, found {type(stop).__name__}")
    if len(stops) > MAX_STOPS:
        raise RequestError(f"expected stop as at most {MAX_STOPS} strings, found {len(stops)}")
    for item in stops:
        if not isinstance(item, str) or not 0 < len(item) <= MAX_STOP_CHARACTERS:
            raise RequestError(
                f"expected stop as strings of 1 to {MAX_STOP_CHARACTERS} characters, found {shown(item)}"
            )
    return tuple(stops)
