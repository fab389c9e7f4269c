"""The verbs of the command, a module each, found by listing this folder.

A verb's module has HELP, one line without its full stop; `add_arguments(parser)`; and `run(arguments)`, which does the
work and returns the exit status. It imports what it works with inside its functions: `qwen3edge --help` imports every
verb, and must not import NumPy, torch or the core along with them.
"""

from __future__ import annotations

import argparse
import pkgutil
from importlib import import_module
from typing import Protocol, cast

_FIRST = ("convert", "export", "run", "chat", "info", "plan", "bench")
"""In the order in which users meet them."""


class Verb(Protocol):
    """What a verb's module has."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Tells the parser of this verb alone what it takes."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Does the work; returns the exit status. Raises Qwen3EdgeError, OSError; ModuleNotFoundError where an extra is
        not installed.
        """


def names() -> list[str]:
    """All verbs, as the help lists them: first those of _FIRST, then the others by name."""
    found = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [*(name for name in _FIRST if name in found), *(name for name in found if name not in _FIRST)]


def verb(name: str) -> Verb:
    """The module of that name."""
    return cast(Verb, import_module(f"{__name__}.{name}"))
