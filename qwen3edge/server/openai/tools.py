"""Tools that are no functions: they are left out, and a header names them."""

from __future__ import annotations

import re
from collections.abc import Sequence

LEFT_OUT = "x-tools-left-out"
_INVISIBLE = re.compile(r"[^!-~]+")
_MOST_CHARACTERS = 1000


def left_out(others: Sequence[str]) -> dict[str, str]:
    """Headers of a response. others: types or names of tools, of which a header takes visible characters of ASCII."""
    names = ", ".join(_INVISIBLE.sub("?", name) for name in others)
    return {LEFT_OUT: names[:_MOST_CHARACTERS]} if others else {}
