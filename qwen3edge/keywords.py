"""Keyword arguments that several functions share, written once: a TypedDict that explains them, and their defaults."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., object])


def nearest(name: str, known: Iterable[str]) -> str | None:
    """What somebody may have meant who wrote `name`."""
    return next(iter(difflib.get_close_matches(name, list(known), 1, 0.5)), None)


def shows(table: type, defaults: Mapping[str, Any]) -> Callable[[Function], Function]:
    """Of a function that takes `**arguments: Unpack[table]`: `inspect.signature` and `help` show each of them."""

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        fixed = [found for found in signature.parameters.values() if found.kind is not found.VAR_KEYWORD]
        listed = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind.__forward_arg__)
            for (name, default), kind in zip(defaults.items(), table.__annotations__.values(), strict=True)
        ]
        function.__signature__ = signature.replace(parameters=[*fixed, *listed])  # type: ignore[attr-defined]
        function.__doc__ = "\n\n".join(inspect.cleandoc(each.__doc__ or "") for each in (function, table))
        return function

    return decorate
