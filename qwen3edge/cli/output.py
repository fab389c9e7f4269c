"""Standard output: JSON as programs read it, or text for people."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from qwen3edge.runtime.plan import format_bytes

if TYPE_CHECKING:
    from qwen3edge.convert import ConvertReport, ExportReport
    from qwen3edge.generation.answer import Answer


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


def error_text(error: Exception) -> str:
    """What a user is told of it; of the system's errors with the file."""
    if isinstance(error, OSError):
        return f"{error.filename}: " * bool(error.filename) + (error.strerror or str(error))
    return str(error) or type(error).__name__


def answer_record(answer: Answer) -> dict[str, Any]:
    """What programs are told of an answer that has ended."""
    calls = {"tool_calls": [call.message for call in answer.tool_calls]} if answer.tool_calls else {}
    broken = {"broken_calls": answer.broken_calls} if answer.broken_calls else {}
    return {
        "content": answer.content,
        "reasoning": answer.reasoning,
        **calls,
        **broken,
        "finish_reason": answer.finish_reason,
        "cut_by": answer.cut_by,
        "usage": asdict(answer.usage),
    }


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
