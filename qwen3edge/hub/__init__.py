"""Models by their names on Hugging Face and ModelScope: fetched, packed, and kept in one cache.

`find(name)` gives the file of a model that is in the cache already; `resolve(name)` fetches it first where it is not;
`pull(name)` fetches and packs it in this process, and needs the extra `hub`. Nothing else here uses the network.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qwen3edge.hub.cache import find
    from qwen3edge.hub.child import resolve
    from qwen3edge.hub.inventory import Entry, entries, remove
    from qwen3edge.hub.pulling import Pulled, pull
    from qwen3edge.hub.steps import Step

__all__ = ["Entry", "Pulled", "Step", "entries", "find", "pull", "remove", "resolve"]

_HOMES = {
    "Entry": "qwen3edge.hub.inventory",
    "Pulled": "qwen3edge.hub.pulling",
    "Step": "qwen3edge.hub.steps",
    "entries": "qwen3edge.hub.inventory",
    "find": "qwen3edge.hub.cache",
    "pull": "qwen3edge.hub.pulling",
    "remove": "qwen3edge.hub.inventory",
    "resolve": "qwen3edge.hub.child",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'qwen3edge.hub' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
