"""What of a conversation is written beside its KV cache, in a saved session's note."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from qwen3edge.cli.arguments import ANSWERING
from qwen3edge.errors import SessionFileError, shown

_KIND, _VERSION = "qwen3edge chat", 2


@dataclass(frozen=True)
class SavedChat:
    """system: prompt, if any. settings: arguments of `generate` that were chosen. turns: messages that begin with a
    question, oldest first.
    """

    system: str | None
    settings: dict[str, Any]
    turns: list[list[dict[str, Any]]]

    def note(self) -> str:
        """JSON, which `read` takes."""
        return json.dumps(
            {"kind": _KIND, "version": _VERSION, "system": self.system, "settings": self.settings, "turns": self.turns}
        )

    @classmethod
    def read(cls, note: str, path: str) -> SavedChat:
        """path: for messages. Whether the settings' values work is not looked at. Raises SessionFileError."""
        try:
            found = json.loads(note)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or found.get("kind") != _KIND:
            raise SessionFileError(f"{path}: expected a chat that /save kept, found a session of another program")
        if found.get("version") != _VERSION:
            raise SessionFileError(
                f"{path}: expected a chat of version {_VERSION}, found version {shown(found.get('version'))}"
            )
        system, settings, turns = (found.get(name) for name in ("system", "settings", "turns"))
        if not (
            (system is None or isinstance(system, str))
            and isinstance(settings, dict)
            and settings.keys() <= set(ANSWERING)
            and isinstance(turns, list)
            and all(isinstance(turn, list) and turn for turn in turns)
            and all(isinstance(message, dict) and _is_message(message) for turn in turns for message in turn)
            and all(turn[0]["role"] == "user" for turn in turns)
        ):
            raise SessionFileError(f"{path}: expected system, settings and turns of a chat, found a damaged note")
        return cls(system, settings, turns)


def _is_message(message: dict[str, Any]) -> bool:
    """Templates look at the rest."""
    calls = message.get("tool_calls", [])
    return (
        isinstance(message.get("role"), str)
        and isinstance(message.get("content"), str)
        and isinstance(calls, list)
        and all(isinstance(call, dict) and isinstance(call.get("id"), str) for call in calls)
    )
