"""Checks of what callers pass: whatever it is, a RequestError that names the parameter."""

from __future__ import annotations

import operator

from qwen3edge.errors import RequestError, shown


def whole(name: str, value: object, low: int, high: int) -> int:
    """An int, or what stands for one such as numpy's."""
    found = _index(value)
    if found is None or not low <= found <= high:
        raise RequestError(f"expected {name} as an int from {low} to {high}, found {shown(value)}")
    return found


def flag(name: str, value: object) -> bool:
    """True or False, nothing that counts as one."""
    if not isinstance(value, bool):
        raise RequestError(f"expected {name} as True or False, found {shown(value)}")
    return value


def token_id(name: str, value: object) -> int:
    """Any int as a token's id; -1 for one that is no id in any vocabulary."""
    found = _index(value)
    if found is None:
        raise RequestError(f"expected {name} as a token's id (an int), found {shown(value)}")
    return found if 0 <= found < 2**31 else -1


def text(name: str, value: object) -> str:
    """A str."""
    if not isinstance(value, str):
        raise RequestError(f"expected {name} as a str, found {shown(value)}")
    return value


def _index(value: object) -> int | None:
    try:
        # Of a class derived from int the plain value: its own methods may do anything.
        return None if isinstance(value, bool) else int.__index__(operator.index(value))  # type: ignore[arg-type]
    except Exception:
        return None
