"""Makes the interpreter many times faster: it gives `triton.language` its NumPy functions once, not at every call.

Triton puts them in place at every launch and at every call of a device function, some 25 ms each, and takes them back
after the launch. This process does nothing but interpret, so they may stay.
"""

from collections.abc import Callable
from typing import Any

import triton.language as tl
from triton.runtime import interpreter


class _Kept:
    """What takes the functions back, and does not."""

    def restore(self) -> None:
        pass


def install() -> None:
    """Changes the interpreter of this process, once."""
    original = interpreter._patch_lang
    if getattr(original, "patches_once", False):
        return
    interpreter._patch_lang = _once(original)
    interpreter._patch_lang.patches_once = True


def _once(original: Callable[[Any], Any]) -> Callable[[Any], _Kept]:
    done: set[frozenset[str]] = set()

    def patch(function: Any) -> _Kept:
        modules = [value for value in function.__globals__.values() if value is tl or value is tl.core]
        key = frozenset(module.__name__ for module in modules)
        if key not in done:
            original(function)
            done.add(key)
        return _Kept()

    return patch
