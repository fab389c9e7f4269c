"""Rows of named cells as text and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

Cell = str | int | float | None
Row = Mapping[str, Cell]


def number(value: float) -> str:
    """Three significant digits, no exponent for what people read."""
    if not 0.1 <= abs(value) < 1e6:
        return f"{value:.2g}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(rows: Sequence[Row]) -> list[str]:
    """Aligned lines."""
    names, *cells = _texts(rows)
    widths = [max(len(line[i]) for line in (names, *cells)) for i in range(len(names))]
    lines = [zip(line, widths, strict=True) for line in (names, *cells)] if cells else []
    return ["  ".join(text.ljust(width) for text, width in line).rstrip() for line in lines]


def markdown_table(rows: Sequence[Row]) -> list[str]:
    """Lines of a Markdown table."""
    names, *cells = ("| " + " | ".join(line) + " |" for line in _texts(rows))
    return [names, "|" + " --- |" * len(_texts(rows)[0]), *cells]


def _texts(rows: Sequence[Row]) -> list[list[str]]:
    """The names of all columns, then a line for each row; "-" for a cell that a row lacks."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [names, *([_text(row.get(name)) for name in names] for row in rows)]


def _text(value: Cell) -> str:
    if value is None:
        return "-"
    return number(value) if isinstance(value, float) else str(value)


def write_between(path: Path, marks: tuple[str, str], text: str) -> None:
    """Replaces what stands between the marks. Raises ValueError for a file without them."""
    begin, end = marks
    before, opening, rest = path.read_text(encoding="utf-8").partition(begin)
    _, closing, after = rest.partition(end)
    if not opening or not closing:
        raise ValueError(f"{path}: expected the marks {begin} and {end}")
    path.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")
