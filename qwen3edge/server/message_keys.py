"""Keys of messages that would change the answer, and that no model here can follow.

Clients echo many others, such as `id`, `status`, `refusal` or `annotations`: these have no effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qwen3edge.errors import shown
from qwen3edge.server.errors import BodyError

_CONTINUED = "this server does not continue an answer: /v1/completions does, with the text of the prompt"
_REFUSED = {
    **dict.fromkeys(("prefix", "partial", "continue"), _CONTINUED),
    "audio": "these models read texts alone",
    "images": "these models read texts alone",
    "videos": "these models read texts alone",
    "function_call": "tool_calls has it",
}


def require_no_effect(messages: Sequence[Mapping[str, Any]]) -> None:
    """Raises BodyError for the first that says something which is left out of the prompt."""
    for index, message in enumerate(messages):
        for name in _REFUSED.keys() & message.keys():
            if message[name]:  # null, false and an empty list say nothing
                where = f"messages[{index}].{name}"
                raise BodyError(f"{where}: expected none, found {shown(message[name])}: {_REFUSED[name]}", where)
