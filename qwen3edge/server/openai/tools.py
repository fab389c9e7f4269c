"""Tools that are no functions: they are left out, and a header names them."""

from __future__ import annotations

from collections.abc import Sequence

LEFT_OUT = "x-tools-left-out"


def left_out(others: Sequence[str]) -> dict[str, str]:
    """Headers of a response. others: types or names of tools."""
    return {LEFT_OUT: ", ".join(others).encode("ascii", "replace").decode()} if others else {}
