"""What ends the answer to a request, beside the model's own end tokens."""

from __future__ import annotations

from collections.abc import Sequence

from qwen3edge import checks
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


def checked_stop_tokens(ids: Sequence[int], vocabulary: int) -> tuple[int, ...]:
    """The stop tokens of a request. Raises RequestError."""
    found = checks.items(f"stop_token_ids (at most {MAX_STOPS})", ids, MAX_STOPS)
    return tuple(checks.whole("stop_token_ids", token, 0, vocabulary - 1) for token in found)
