"""The tables of docs/gguf.md that say what becomes of what, from the code.

python scripts/gguf_tables.py            # prints them
python scripts/gguf_tables.py --write    # puts them between the marks of docs/gguf.md
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from qwen3edge.formats.blocks import BLOCK_FORMATS
from qwen3edge.formats.gguf_blocks import INCOMING, OUTGOING, UNQUANTIZED
from qwen3edge.formats.pack_quantized import default_kind, scheme_of

DOCS = Path(__file__).resolve().parents[1] / "docs" / "gguf.md"
_COLUMNS = 1024  # that every group divides


def incoming() -> list[str]:
    """GGUF types by what they become."""
    rows: dict[tuple[str, str], list[str]] = {}
    for kind, found in INCOMING.items():
        if kind in UNQUANTIZED:
            how = "the recipe's format; `q8` in a file whose other matrices are quantized"
        elif found.exact:
            how = "the same weights, bit by bit"
        elif found.planes is not None:
            how = "the same levels; scales and minimums multiplied out, to float16"
        else:
            how = "dequantized by the gguf package, quantized again"
        rows.setdefault((f"`{found.format}`" if found.format else "", how), []).append(kind.name)
    lines = ["| in the GGUF file | becomes | how |", "| --- | --- | --- |"]
    return lines + [f"| {', '.join(kinds)} | {kept} | {how} |" for (kept, how), kinds in rows.items()]


def outgoing() -> list[str]:
    """Our formats by what they become, in both exports."""
    lines = ["| our format | as GGUF | as compressed-tensors |", "| --- | --- | --- |"]
    rows: dict[tuple[str, str], list[str]] = {}
    for name in BLOCK_FORMATS:
        if name == "vector":
            continue
        best = OUTGOING[name]
        gguf = f"{best.type.name}{', the same weights' if best.exact else ', scales rounded to float16'}"
        rows.setdefault((gguf, _folder(name)), []).append(f"`{name}`")
    return lines + [f"| {', '.join(names)} | {gguf} | {folder} |" for (gguf, folder), names in rows.items()]


def _folder(name: str) -> str:
    scheme = scheme_of(name, default_kind(name), _COLUMNS)
    if scheme is None:
        return "bfloat16" if name == "bf16" else "float32 if all of the file is, else bfloat16"
    how = "the same weights" if scheme.exact else "quantized again, as their minimums are no zero points"
    return f"int{scheme.bits}, groups of {scheme.group}, {how}"


TABLES: dict[str, Callable[[], list[str]]] = {"incoming": incoming, "outgoing": outgoing}


def written(text: str) -> str:
    """The page with new tables. Raises ValueError for one without the marks."""
    for name, make in TABLES.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, mark, rest = text.partition(begin)
        _, last, after = rest.partition(end)
        if not mark or not last:
            raise ValueError(f"expected the marks {begin} and {end}")
        text = "\n".join([before + begin, "", *make(), "", end]) + after
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        DOCS.write_text(written(DOCS.read_text(encoding="utf-8")), encoding="utf-8")
        return
    for make in TABLES.values():
        print("\n".join([*make(), ""]))


if __name__ == "__main__":
    main()
