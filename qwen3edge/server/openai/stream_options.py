"""What a client asks of a stream."""

from __future__ import annotations

from qwen3edge.server.parameters import Body, Ignored


class StreamOptions(Body):
    """Of a stream."""

    include_usage: bool = False
    include_obfuscation: Ignored = None
