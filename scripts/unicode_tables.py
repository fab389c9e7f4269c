"""Writes csrc/text/unicode_tables.cpp: what the `tokenizers` library knows of Unicode, found out by asking it.

python scripts/unicode_tables.py            # says how large the tables are, and whether they are stale
python scripts/unicode_tables.py --write

The library's classes are those of its regular expressions (of tokenizers 0.23: Unicode 16), its normal form is of an
older edition (Unicode 9). Models were trained with them, so Python's own unicodedata would not do.
"""

from __future__ import annotations

import argparse
import itertools
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import tokenizers
from tokenizers import normalizers, pre_tokenizers

TARGET = Path(__file__).resolve().parents[1] / "csrc" / "text" / "unicode_tables.cpp"
CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
BLOCK_BITS, CODE_BITS = 7, 21  # as in csrc/text/unicode.h
HANGUL = range(0xAC00, 0xAC00 + 11172)
JOINING_JAMO = (*range(0x1161, 0x1161 + 21), *range(0x11A8, 0x11A8 + 27))
"""What Hangul's rule joins with what stands before it."""

CLASSES = {
    "letter": r"\p{L}+",
    "mark": r"\p{M}+",
    "number": r"\p{N}+",
    "line_break": r"[\r\n]+",
    "space": r"[^\S\r\n]+",
}

Kind = tuple[str, int, bool]
"""Class, canonical combining class, whether it is stable: a CharKind."""


def normalized(form: normalizers.Normalizer, texts: Iterable[str]) -> list[str]:
    """The forms of texts without line breaks."""
    return form.normalize_str("\n".join(texts)).split("\n")


def classes() -> dict[int, str]:
    """Of the code points that are not `other`."""
    text = "".join(map(chr, CODES))
    found: dict[int, str] = {}
    for name, pattern in CLASSES.items():
        end = 0
        # The parts between matches, so matches are what is not in them.
        parts = pre_tokenizers.Split(tokenizers.Regex(pattern), "removed").pre_tokenize_str(text)
        for start, stop in [*(span for _, span in parts), (len(text), len(text))]:
            found |= dict.fromkeys(CODES[end:start], name)
            end = stop
    return found


def combining_classes(decomposed: dict[int, str]) -> dict[int, int]:
    """Of marks that stand in an order: told by which of two the library puts first."""
    plain = [code for code in CODES if code not in decomposed and code != 0x0A]
    form = normalizers.NFD()
    first, last = "\u0334", "\u0345"  # of the classes 1 and 240, the lowest and the highest
    after_first = normalized(form, (chr(code) + first for code in plain))
    before_last = normalized(form, (last + chr(code) for code in plain))
    moved = [
        code
        for code, after, before in zip(plain, after_first, before_last, strict=True)
        if after[0] == first != chr(code) or before[-1] == last != chr(code)
    ]
    by_class = {unicodedata.combining(chr(code)): chr(code) for code in moved if unicodedata.combining(chr(code))}
    found = {}
    for code in moved:
        pairs = [(chr(code) + other, other + chr(code)) for other in by_class.values()]
        equal = [
            value
            for value, pair in zip(by_class, pairs, strict=True)
            if all(form.normalize_str(text) == text for text in pair)
        ]
        assert len(equal) == 1, f"expected one class for U+{code:04X}, found {equal}"
        found[code] = equal[0]
    return found


class NormalForm:
    """decompositions: (first, second or 0) by code point; composing: the code points that come back from it."""

    def __init__(self) -> None:
        codes = [code for code in CODES if code != 0x0A]
        whole = dict(zip(codes, normalized(normalizers.NFD(), map(chr, codes)), strict=True))
        back = dict(zip(codes, normalized(normalizers.NFC(), map(chr, codes)), strict=True))
        self.decomposed = {code: text for code, text in whole.items() if text != chr(code)}
        self.unchanged = {code for code, text in back.items() if text == chr(code)} | {0x0A}
        by_form = {text: code for code, text in self.decomposed.items()}
        by_form |= {text: code for code, text in self.decomposed.items() if code in self.unchanged}
        by_form |= {chr(code): code for code in codes if code not in self.decomposed}
        self.decompositions: dict[int, tuple[int, int]] = {}
        for code, text in self.decomposed.items():
            if code in HANGUL:
                continue
            self.decompositions[code] = (ord(text), 0) if len(text) == 1 else (by_form[text[:-1]], ord(text[-1]))
        self.composing = [code for code in self.decompositions if code in self.unchanged]
        pairs = {self.decompositions[code] for code in self.composing}
        assert len(pairs) == len(self.composing) and all(second for _, second in pairs)
        self.seconds = {second for _, second in pairs} | set(JOINING_JAMO)

    def is_stable(self, code: int) -> bool:
        """Whether it stays what it is behind whatever stands before it."""
        begins = ord(self.decomposed.get(code, chr(code))[0])
        return code in self.unchanged and code not in self.seconds and begins not in self.seconds


def two_levels(kinds: list[int]) -> tuple[list[int], list[int]]:
    """The block of each stretch of code points, and the blocks, each of them once."""
    blocks: dict[tuple[int, ...], int] = {}
    size = 1 << BLOCK_BITS
    of = [blocks.setdefault(tuple(kinds[at : at + size]), len(blocks)) for at in range(0, len(kinds), size)]
    assert len(blocks) <= 256, "block numbers are bytes"
    return of, [kind for block in blocks for kind in block]


def lines(values: Iterable[object]) -> str:
    """Rows of an initializer."""
    text, row = [], ""
    for value in values:
        item = f"{value},"
        if len(row) + len(item) > 128:
            text.append(row)
            row = ""
        row += item
    return "\n".join([*text, row])


def source() -> tuple[str, int]:
    """The file, and the bytes that its tables take."""
    found, form = classes(), NormalForm()
    combining = combining_classes(form.decomposed)
    of_code: list[Kind] = [("other", 0, True)] * 0x110000  # surrogates are in no text
    for code in CODES:
        of_code[code] = (found.get(code, "other"), combining.get(code, 0), form.is_stable(code))
    kinds = {kind: number for number, kind in enumerate(sorted(set(of_code), key=lambda kind: (kind[1], kind)))}
    assert len(kinds) <= 256, "kinds are bytes"
    of_block, blocks = two_levels([kinds[kind] for kind in of_code])
    packed = {
        code: code << 2 * CODE_BITS | first << CODE_BITS | second
        for code, (first, second) in sorted(form.decompositions.items())
    }
    place = {code: number for number, code in enumerate(packed)}
    composing = [place[code] for code in sorted(form.composing, key=lambda code: form.decompositions[code])]
    nbytes = len(of_block) + len(blocks) + 3 * len(kinds) + 8 * len(packed) + 2 * len(composing)
    rows = [f"{{CharClass::{name}, {value}, {str(stable).lower()}}}" for name, value, stable in kinds]
    text = f"""\
// Made by scripts/unicode_tables.py from tokenizers {tokenizers.__version__}: do not edit.
// clang-format off
#include "text/unicode.h"

namespace q3e::unicode {{

const CharKind kKinds[] = {{
{lines(rows)}
}};

const uint8_t kBlocks[kCodePoints >> kBlockBits] = {{
{lines(of_block)}
}};

const uint8_t kKindOf[] = {{
{lines(blocks)}
}};

const uint64_t kDecompositions[] = {{
{lines(f"{value:#x}" for value in packed.values())}
}};
const size_t kDecompositionCount = {len(packed)};

const uint16_t kCompositions[] = {{
{lines(composing)}
}};
const size_t kCompositionCount = {len(composing)};

}}  // namespace q3e::unicode
"""
    return text, nbytes


def without_version(text: str) -> list[str]:
    """Without the first line: another edition of the library may have the same tables."""
    return list(itertools.islice(text.splitlines(), 1, None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"write {TARGET.name}")
    text, nbytes = source()
    if parser.parse_args().write:
        TARGET.write_text(text, encoding="utf-8")
    stale = without_version(TARGET.read_text(encoding="utf-8")) != without_version(text)
    print(f"{nbytes} bytes of tables, {'stale' if stale else 'as written'}")


if __name__ == "__main__":
    main()
