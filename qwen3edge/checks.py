"""Checks of what callers pass: whatever it is, a RequestError that names the parameter."""

from __future__ import annotations

import math
import numbers
import operator
import os
import re
from collections.abc import Mapping, Sequence, Set
from typing import Any

from qwen3edge.errors import RequestError, shown

_UNITS: dict[str, int] = {
    "": 1,
    "b": 1,
    **{letter: 1024**power for power, letter in enumerate("kmgt", 1)},  # as docker, systemd and ulimit take them
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}i": 1024**power for power, letter in enumerate("kmgt", 1)},  # as Kubernetes
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)},
}
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([a-z]*)", re.IGNORECASE | re.ASCII)
_MAX_BYTES = 2**62
_MIN_BARE = 1 << 20
"""A smaller number without a unit is one whose unit was forgotten: no model fits it."""


def whole(name: str, value: object, low: int, high: int) -> int:
    """An int, or what stands for one such as numpy's."""
    found = as_int(value)
    if found is None or not low <= found <= high:
        raise RequestError(f"expected {name} as an int from {low} to {high}, found {shown(value)}")
    return found


def number(name: str, value: object, low: float, high: float, *, below: bool = False) -> float:
    """A finite number, or what stands for one such as numpy's; below: high itself is none."""
    found = _real(value)
    if found is None or not low <= found <= high or (below and found == high):
        to = "to below" if below else "to"
        raise RequestError(f"expected {name} as a finite number from {low:g} {to} {high:g}, found {shown(value)}")
    return found


def flag(name: str, value: object) -> bool:
    """True or False, nothing that counts as one."""
    if not isinstance(value, bool):
        raise RequestError(f"expected {name} as True or False, found {shown(value)}")
    return value


def encoded(name: str, value: str) -> bytes:
    """A text in UTF-8, which a lone surrogate has none in."""
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise RequestError(f"{name}: expected a text, found a lone surrogate in it, which is none") from None


def token_id(name: str, value: object) -> int:
    """Any int as a token's id; -1 for one that is no id in any vocabulary."""
    found = as_int(value)
    if found is None:
        raise RequestError(f"expected {name} as a token's id (an int), found {shown(value)}")
    return found if 0 <= found < 2**31 else -1


def byte_size(name: str, value: object) -> int:
    """A number of bytes, from an int or a text such as "600MiB", "1.5 GiB", "2G" (of 1024), "2GB" (of 1000); none of
    less than 1 MiB without a unit.
    """
    found = plain(value)
    bare = found is None or found.strip().isdecimal()
    if found is not None:
        match = _SIZE.fullmatch(found.strip())
        unit = _UNITS.get(match[2].lower()) if match else None
        if match is None or unit is None:
            raise RequestError(f"expected {name} as a size such as 600MiB or 1.5G, found {shown(value)}")
        size = math.floor(float(match[1]) * unit)
        if not 0 < size <= _MAX_BYTES:
            raise RequestError(f"expected {name} as a size of 1 byte to 4 EiB, found {shown(value)}")
    else:
        size = whole(f"{name} as a text such as 600MiB, or bytes", value, 1, _MAX_BYTES)
    if bare and size < _MIN_BARE:
        raise RequestError(
            f"expected {name} as a size with its unit such as 600MiB, found {size}, which is {size} bytes"
        )
    return size


def text(name: str, value: object) -> str:
    """A str."""
    if not isinstance(value, str):
        raise RequestError(f"expected {name} as a str, found {shown(value)}")
    return value


def one_of(name: str, value: object, choices: Sequence[str]) -> str:
    """One of these strings."""
    found = plain(value)
    if found is None or found not in choices:
        raise RequestError(f"expected {name} as one of {', '.join(choices)}, found {shown(value)}")
    return found


def plain(value: object) -> str | None:
    """A str without what a class derived from it makes of it; None for what is no str."""
    return str.__str__(value) if isinstance(value, str) else None


def path(name: str, value: object) -> str:
    """What Python's own `open` takes as the name of a file, but for the numbers of open ones."""
    try:
        found = os.fsdecode(value)  # type: ignore[arg-type]
        os.fsencode(found)
    except Exception:
        found = "\0"
    if "\0" in found:
        raise RequestError(f"expected {name} as a str, bytes or os.PathLike that can name a file, found {shown(value)}")
    return found


def items(name: str, value: object, most: int) -> list[object]:
    """At most so many items of a list, an array or whatever else has them in an order."""
    try:
        if isinstance(value, str | bytes | bytearray | Mapping | Set):
            raise TypeError
        listed: Any = value.tolist() if hasattr(value, "tolist") else value
        found: list[object] = [item for item, _ in zip(listed, range(most + 1), strict=False)]
    except Exception:
        raise RequestError(f"expected {name} as a list or an array, found {shown(value)}") from None
    if len(found) > most:
        raise RequestError(f"expected {name} as at most {most}, found more")
    return found


def _real(value: object) -> float | None:
    try:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            return None
        if isinstance(value, float):
            return float.__float__(value)
        whole = as_int(value)
        return float(value if whole is None else whole)
    except Exception:
        return None


def as_int(value: object) -> int | None:
    """What stands for an int, as one; None of anything else."""
    try:
        # Of a class derived from int the plain value: its own methods may do anything.
        return None if isinstance(value, bool) else int.__index__(operator.index(value))  # type: ignore[arg-type]
    except Exception:
        return None
