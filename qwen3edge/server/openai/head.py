"""How answers of OpenAI's API begin, and how streams of them end."""

from __future__ import annotations

import os
import time
from typing import Any

from qwen3edge import __version__

DONE = b"data: [DONE]\n\n"
"""The last event of a stream."""


def identity(prefix: str) -> str:
    """Of an answer or a part of one."""
    return f"{prefix}{os.urandom(12).hex()}"


def head(model: str, kind: str, prefix: str) -> dict[str, Any]:
    """model: its name. kind: of the object. prefix: of its id."""
    return {
        "id": identity(prefix),
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": f"qwen3edge-{__version__}",
    }
