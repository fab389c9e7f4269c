"""Standard output: JSON as programs read it, or text for people."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from qwen3edge.runtime.plan import format_bytes

if TYPE_CHECKING:
    from qwen3edge.convert import ConvertReport, ExportReport


def print_json(value: object) -> None:
    """One line. Characters are written as they are where the output's encoding has them all."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        text = json.dumps(value)
    print(text)


def print_result(result: object, text: str, *, as_json: bool) -> None:
    """The result of a verb for programs, or this text for people."""
    if as_json:
        print_json(result)
    else:
        print(text)


def print_report(report: ConvertReport | ExportReport, *, as_json: bool, bits_per_weight: float | None = None) -> None:
    """The file or folder that was made."""
    result: dict[str, Any] = {
        "path": str(report.path),
        "nbytes": report.nbytes,
        "seconds": report.seconds,
        "tensors": len(report.tensors),
        "notes": list(report.notes),
    }
    size = format_bytes(report.nbytes)
    if bits_per_weight is not None:
        result["bits_per_weight"] = bits_per_weight
        size += f", {bits_per_weight:.2f} bits a weight"
    made = f"{report.path}: {size}, {len(report.tensors)} tensors in {report.seconds:.1f} s"
    print_result(result, "\n  ".join([made, *report.notes]), as_json=as_json)
