"""Writes csrc/template/letter_tables.h from the Unicode that this Python knows.

python scripts/make_letter_tables.py
"""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "csrc" / "template" / "letter_tables.h"


def runs(changed: dict[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """(first, last, step, difference) of characters that change by the same difference, every one or every second."""
    codes = sorted(changed)
    at = 0
    while at < len(codes):
        end, step = at + 1, 0
        while end < len(codes) and changed[codes[end]] == changed[codes[at]]:
            gap = codes[end] - codes[end - 1]
            if gap > 2 or (step and gap != step):
                break
            step = gap
            end += 1
        yield codes[at], codes[end - 1], step or 1, changed[codes[at]]
        at = end


def table(name: str, change: Callable[[str], str]) -> list[str]:
    """The lines of one direction."""
    single, several = {}, {}
    for code in range(sys.maxunicode + 1):
        after = change(chr(code))
        if after == chr(code):
            continue
        if len(after) == 1:
            single[code] = ord(after) - code
        else:
            several[code] = [ord(c) for c in after]
    lines = [f"inline constexpr CaseRun k{name}Runs[] = {{"]
    lines += [f"    {{{first:#x}, {last:#x}, {step}, {difference}}}," for first, last, step, difference in runs(single)]
    lines += ["};", f"inline constexpr CaseExpansion k{name}Expansions[] = {{"]
    lines += [f"    {{{code:#x}, {{{', '.join(map(hex, after))}}}}}," for code, after in several.items()]
    return [*lines, "};"]


def unprintable() -> Iterator[tuple[int, int]]:
    """Ranges that `repr` escapes."""
    start = None
    for code in range(sys.maxunicode + 2):
        hidden = code <= sys.maxunicode and not chr(code).isprintable()
        if hidden and start is None:
            start = code
        elif not hidden and start is not None:
            yield start, code - 1
            start = None


def main() -> None:
    lines = [
        f"// Made by scripts/make_letter_tables.py from Unicode {unicodedata.unidata_version}.",
        "#pragma once",
        "",
        "#include <cstdint>",
        "",
        "namespace q3e::chat {",
        "",
        "// Characters from first to last, every step-th, become others at this distance.",
        "struct CaseRun {",
        "  uint32_t first, last, step;",
        "  int32_t difference;",
        "};",
        "// A character that becomes several; zeros behind them.",
        "struct CaseExpansion {",
        "  uint32_t character, after[3];",
        "};",
        "struct CharacterRange {",
        "  uint32_t first, last;",
        "};",
        "",
        *table("Upper", str.upper),
        *table("Lower", str.lower),
        "// What is written as an escape in a text's representation.",
        "inline constexpr CharacterRange kUnprintable[] = {",
        *(f"    {{{first:#x}, {last:#x}}}," for first, last in unprintable()),
        "};",
        "",
        "}  // namespace q3e::chat",
        "",
    ]
    TARGET.write_text("\n".join(lines), encoding="utf-8")
    subprocess.run(["clang-format", "-i", str(TARGET)], check=True)


if __name__ == "__main__":
    main()
