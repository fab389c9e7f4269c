"""`qwen3edge calibrate MODEL --out STATISTICS.npz [--text FILE]`."""

from __future__ import annotations

import argparse
from typing import Any

from qwen3edge import checks
from qwen3edge.cli import arguments as options
from qwen3edge.cli.output import print_result
from qwen3edge.cli.status import StatusLine

HELP = "measure what a model's matrices meet in text, for better quantization"
_SHOWN = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model, a text, and what to measure."""
    options.add_model(parser, help="a .q3e file, best in bf16 or f32")
    parser.add_argument("--out", metavar="FILE.npz", required=True, help="what convert --imatrix takes")
    parser.add_argument(
        "--text",
        metavar="FILE",
        help="a text, or .jsonl with `text` or `messages` (default: what the model writes itself)",
    )
    parser.add_argument("--window", type=int, default=512, metavar="N", help="tokens that are read together (512)")
    parser.add_argument("--limit", type=int, metavar="N", help="read so many tokens")
    parser.add_argument("--gram", action="store_true", help="X^T X as well, for convert --quantizer gptq")
    parser.add_argument(
        "--gram-experts",
        action="store_true",
        help="--gram, and of each expert: experts x columns x columns x 4 bytes a layer",
    )
    parser.add_argument("--gram-memory", default="2GiB", metavar="SIZE", help="of X^T X at a time (2GiB)")
    parser.add_argument(
        "--sensitivity",
        action="store_true",
        help="the divergence by each matrix, for convert --target-bits (f32, bf16)",
    )
    parser.add_argument("--sensitivity-tokens", type=int, default=2048, metavar="N", help="to measure it on (2048)")
    parser.add_argument("--imatrix", metavar="FILE.dat", help="write llama.cpp's importance matrix, too")
    parser.add_argument("--resume", metavar="FOLDER", help="a folder to keep what was done in, and to go on from")
    options.add_threads(parser)
    options.add_quiet(parser, "line")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measures; progress goes to standard error, what was found to standard output."""
    from qwen3edge.calibrate.calibration import Wanted, calibrate
    from qwen3edge.convert.statistics import SENSITIVITY_FORMAT

    wanted = Wanted(
        text=arguments.text,
        window=arguments.window,
        limit=arguments.limit,
        grams=arguments.gram or arguments.gram_experts,
        expert_grams=arguments.gram_experts,
        gram_bytes=checks.byte_size("--gram-memory", arguments.gram_memory),
        sensitivities=arguments.sensitivity,
        sensitivity_tokens=arguments.sensitivity_tokens,
        imatrix=arguments.imatrix,
    )
    status = StatusLine(quiet=arguments.quiet)
    report = calibrate(
        arguments.model,
        arguments.out,
        wanted,
        threads=arguments.threads,
        resume=arguments.resume,
        progress=lambda what, done, of: status.show(f"{what}: {done} of {of}"),
    )
    status.end()
    result: dict[str, Any] = {"path": str(report.path), "tokens": report.tokens, "inputs": report.inputs}
    lines = [f"{report.path}: {report.inputs} inputs of matrices over {report.tokens} tokens"]
    if report.experts:
        result["unreached_experts"] = report.unreached
        lines.append("  experts that saw no token:" if report.unreached else "  every expert saw a token")
        for name, experts in report.unreached.items():
            listed = ", ".join(map(str, experts[:_SHOWN])) + (", .." if len(experts) > _SHOWN else "")
            lines.append(f"    {name}: {len(experts)} of {report.experts}: {listed}")
    if report.without_gram:
        result["without_gram"] = report.without_gram
        lines += [f"  no X^T X of {name}: it takes more than --gram-memory" for name in report.without_gram]
    if report.sensitivities:
        result["sensitivities"] = report.sensitivities
        lines.append(f"  most sensitive, KL divergence in nats of the tensor in {SENSITIVITY_FORMAT} alone:")
        most = sorted(report.sensitivities.items(), key=lambda item: -item[1])[:_SHOWN]
        lines += [f"    {name:<28} {value:.5f}" for name, value in most]
    print_result(result, "\n".join(lines), as_json=arguments.json)
    return 0
