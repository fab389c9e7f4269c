"""Objects within bodies."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from qwen3edge.server.parameters import Ignored


class Part(BaseModel):
    """A base of them: what they may have is said as in a `Body`."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=(), defer_build=True)


class StreamOptions(Part):
    """Of a stream."""

    include_usage: bool = False
    include_obfuscation: Ignored = None
