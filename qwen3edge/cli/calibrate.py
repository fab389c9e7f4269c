"""`qwen3edge calibrate MODEL --out STATISTICS.npz [--text FILE]`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from qwen3edge.calibrate.calibration import Wanted, calibrate
from qwen3edge.cli.output import print_json
from qwen3edge.cli.status import StatusLine
from qwen3edge.convert.statistics import SENSITIVITY_FORMAT
from qwen3edge.runtime.plan import parse_bytes

_SHOWN = 8


def run(arguments: argparse.Namespace) -> int:
    """Measures; progress goes to standard error, what was found to standard output."""
    wanted = Wanted(
        text=arguments.text,
        window=arguments.window,
        limit=arguments.limit,
        grams=arguments.gram or arguments.gram_experts,
        expert_grams=arguments.gram_experts,
        gram_bytes=parse_bytes(arguments.gram_memory, "--gram-memory"),
        sensitivities=arguments.sensitivity,
        sensitivity_tokens=arguments.sensitivity_tokens,
        imatrix=arguments.imatrix,
    )
    status = StatusLine(sys.stderr, visible=sys.stderr.isatty() and not arguments.quiet)
    report = calibrate(
        arguments.model,
        arguments.out,
        wanted,
        threads=arguments.threads,
        resume=arguments.resume,
        progress=lambda what, done, of: status.show(f"{what}: {done} of {of}"),
    )
    status.end()
    if arguments.json:
        result: dict[str, Any] = {"path": str(report.path), "tokens": report.tokens, "inputs": report.inputs}
        if report.experts:
            result["unreached_experts"] = report.unreached
        if report.without_gram:
            result["without_gram"] = report.without_gram
        if report.sensitivities:
            result["sensitivities"] = report.sensitivities
        print_json(result)
        return 0
    print(f"{report.path}: {report.inputs} inputs of matrices over {report.tokens} tokens")
    if report.experts:
        print("  every expert saw a token" if not report.unreached else "  experts that saw no token:")
        for name, experts in report.unreached.items():
            listed = ", ".join(map(str, experts[:_SHOWN])) + (", .." if len(experts) > _SHOWN else "")
            print(f"    {name}: {len(experts)} of {report.experts}: {listed}")
    for name in report.without_gram:
        print(f"  no X^T X of {name}: it takes more than --gram-memory")
    if report.sensitivities:
        print(f"  most sensitive, KL divergence in nats of the tensor in {SENSITIVITY_FORMAT} alone:")
        for name, value in sorted(report.sensitivities.items(), key=lambda item: -item[1])[:_SHOWN]:
            print(f"    {name:<28} {value:.5f}")
    return 0
