"""Stop strings in a stream: text is held back for as long as it may turn out to be the start of one."""

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


class StopFilter:
    """Passes text on up to the first stop string that is complete; it and what follows never come out."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """The text that can be shown now. Sets `stopped` when a stop string was completed."""
        if self.stopped:
            return ""
        held = self._held + text
        found = [(start + len(stop), start) for stop in self._stops if (start := held.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return held[: min(found)[1]]
        starts = (stop[:count] for stop in self._stops for count in range(1, min(len(stop), len(held) + 1)))
        keep = max((len(start) for start in starts if held.endswith(start)), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def finish(self) -> str:
        """What was held back and is no stop string after all."""
        rest, self._held = self._held, ""
        return rest
