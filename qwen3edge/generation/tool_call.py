"""A tool call in an answer."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any, Literal

from qwen3edge.errors import RequestError

CallEvent = Literal["begun", "arguments", "complete", "broken", "cut"]
"""What a piece of an answer is of a call."""


def _new_id() -> str:
    return f"call_{os.urandom(12).hex()}"


@dataclass
class ToolCall:
    """A call as far as it has come. index: in the order of the answer, those that broke included."""

    index: int
    name: str
    arguments: str = ""
    """JSON as the model wrote it, or as it was made of XML; an object once complete."""
    id: str = field(default_factory=_new_id)
    state: Literal["open", "complete", "broken", "cut"] = "open"
    """Broken: it is no call after all, and its text is part of the content or of the thoughts. Cut: the answer ended
    within it."""

    @property
    def parsed(self) -> dict[str, Any]:
        """The arguments by name. Raises RequestError for a call that is not complete."""
        if self.state != "complete":
            raise RequestError(f"expected a complete call of {self.name}, found one that is {self.state}")
        values: dict[str, Any] = json.loads(self.arguments)
        return values

    @property
    def message(self) -> dict[str, Any]:
        """As OpenAI's API has it in an assistant's `tool_calls`."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}
