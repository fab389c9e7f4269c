"""How far a pull is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """doing: "waiting" for another pull, "listing", "checking" what is there already, "downloading", "packing".
    what: a file, or a tensor. done, total: bytes of all that is checked, downloaded or packed; 0 where nothing counts.
    """

    doing: str
    what: str = ""
    done: int = 0
    total: int = 0


Show = Callable[[Step], None]
