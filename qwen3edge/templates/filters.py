"""Filters of chat templates whose results could be of any size, within the bounds of budget.py."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import jinja2
from jinja2 import filters
from jinja2.exceptions import SecurityError
from jinja2.runtime import Undefined
from jinja2.sandbox import SandboxedFormatter

from qwen3edge.templates.budget import MAX_ITEMS, Budget, check_characters, check_size

MAX_WIDTH = 1000
"""Of a number or a text in a format."""

_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
"""Where `str.splitlines` splits."""

_ESCAPED_MARK = re.compile(r"(\\\\)|\\ud800(?!\\ud[c-f])")
# At every %, be it the second of "%%": more than Python takes for a conversion, never less.
_CONVERSION = re.compile(r"%(?=(?:\(([^()]*\(?)[^()]*\)?)?[-#0 +]*(\*|[0-9]*)(?:\.(\*|[0-9]*))?)")


def bounded(budget: Budget) -> dict[str, Callable[..., Any]]:
    """By name."""

    def printf(value: object, *args: Any, **kwargs: Any) -> str:
        """The filter `format`."""
        check_format(budget, str(value), kwargs or args)
        return filters.do_format(value, *args, **kwargs)  # type: ignore[arg-type]

    return {"tojson": _tojson, "replace": _replace, "indent": _indent, "center": _center, "format": printf,
            "batch": _batch, "slice": _slice, "wordcount": _wordcount}  # fmt: skip


def check_format(budget: Budget, pattern: str, values: Any) -> None:
    """Of `pattern % values`. Raises SecurityError, TemplateError for what would be too long."""
    count, characters = 0, len(pattern)
    for match in _CONVERSION.finditer(pattern):
        if match[1] and match[1].endswith("("):
            raise SecurityError("names in formats have no parentheses in a chat template")
        for width in match.group(2, 3):
            if width and (width == "*" or len(width) > 4 or int(width) > MAX_WIDTH):
                raise SecurityError(f"expected widths of at most {MAX_WIDTH} in a format")
            characters += int(width or 0)
        count += 1
    several = count if isinstance(values, Mapping) else 1  # each of a tuple's values is written once
    check_characters(characters + 400 * count + several * budget.size(values))


class Formatter(SandboxedFormatter):
    """`str.format` within the bounds."""

    _characters = 0

    def format_field(self, value: Any, format_spec: str) -> Any:
        """One value."""
        if len(format_spec) > 64 or any(int(width) > MAX_WIDTH for width in re.findall(r"\d+", format_spec)):
            raise SecurityError(f"expected widths of at most {MAX_WIDTH} in a format")
        text = super().format_field(value, format_spec)
        self._characters += len(text)
        check_characters(self._characters)
        return text


def check_padding(text: str, method: str, width: object = 8, *_fill: object) -> None:
    """Of `center`, `ljust`, `rjust`, `zfill` and `expandtabs`."""
    if isinstance(width, int):
        check_characters(len(text) + text.count("\t") * width if method == "expandtabs" else max(len(text), width))


def check_lines(text: str) -> None:
    """Of what is split at its line breaks."""
    check_size([], 1 + sum(map(text.count, _BREAKS)))


def check_replace(text: str, old: object = "", new: object = "", *_count: object) -> None:
    if isinstance(old, str) and isinstance(new, str):
        check_characters(len(text) + text.count(old) * len(new))


def _replace(text: object, old: str, new: str, count: int | None = None) -> str:
    value = str(text)
    check_replace(value, old, new)
    return value.replace(old, new, -1 if count is None else count)


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    if isinstance(indent, int | str) and not 0 <= (len(indent) if isinstance(indent, str) else indent) <= 16:
        raise SecurityError("indent out of bounds")
    if separators is not None and max(map(len, separators)) > 16:
        raise SecurityError("separators out of bounds")
    if isinstance(value, Undefined):
        raise jinja2.UndefinedError("an undefined value has no JSON form")
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    # A lone surrogate is the mark of `Tokenizer.protect`, which stays one: no text from outside holds any.
    return _ESCAPED_MARK.sub(lambda match: match[1] or "\ud800", text) if ensure_ascii else text


def _indent(text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    value = str(text)
    check_lines(value)
    lines = 2 + sum(map(value.count, _BREAKS))
    check_characters(len(value) + lines * (len(width) if isinstance(width, str) else width))
    return filters.do_indent(text, width, first, blank)


def _center(value: object, width: int = 80) -> str:
    check_characters(width)
    return filters.do_center(value, width)  # type: ignore[arg-type]


def _batch(value: Iterable[Any], linecount: int, fill_with: object = None) -> list[list[Any]]:
    check_size([], linecount)
    return list(filters.do_batch(_items(value), linecount, fill_with))


def _slice(value: Iterable[Any], slices: int, fill_with: object = None) -> list[list[Any]]:
    check_size([], slices)
    return list(filters.sync_do_slice(_items(value), slices, fill_with))


def _items(value: Iterable[Any]) -> list[Any]:
    items = list(islice(value, MAX_ITEMS + 1))
    check_size(items, len(items))
    return items


def _wordcount(value: object) -> int:
    return sum(1 for _ in re.finditer(r"\w+", str(value)))
