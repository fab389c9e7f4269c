"""`qwen3edge info MODEL`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from qwen3edge.cli import arguments as options
from qwen3edge.cli.output import print_result
from qwen3edge.runtime.plan import format_bytes

if TYPE_CHECKING:
    from qwen3edge import _core

_OF_SOME_BLOCKS = ("experts", "experts_per_token", "expert_ffn_size", "ffn_size", "norm_topk_prob")
HELP = "show what a .q3e file holds, and check it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model, and how much to say of it."""
    options.add_model(parser)
    parser.add_argument("--verify", action="store_true", help="read all weights and check them")
    parser.add_argument("--tensors", action="store_true", help="list the tensors")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints what the header says; with --verify, after reading all weights and checking them."""
    from qwen3edge import _core
    from qwen3edge.config import ModelConfig

    file = _core.ModelFile(options.model_path(arguments.model))
    config = ModelConfig.from_metadata(file)
    if arguments.verify:
        file.verify()
    tensors = file.tensors()
    formats: dict[str, dict[str, int]] = {}
    for tensor in tensors:
        found = formats.setdefault(tensor["format"], {"tensors": 0, "nbytes": 0})
        found["tensors"] += 1
        found["nbytes"] += tensor["nbytes"]
    matrices = [tensor for tensor in tensors if tensor["rows"] > 1]
    weights = sum(tensor["rows"] * tensor["columns"] for tensor in matrices)
    result: dict[str, Any] = {
        "path": file.path,
        "nbytes": file.nbytes,
        "weights": weights,
        "bits_per_weight": 8 * sum(tensor["nbytes"] for tensor in matrices) / weights,
        "texts": _texts(file),
        "sampling": _sampling(file),
        "config": asdict(config),
        "formats": formats,
    }
    if arguments.verify:
        result["verified"] = True
    if arguments.tensors:
        result["tensors"] = tensors
    print_result(result, "\n".join(_lines(file, result)), as_json=arguments.json)
    return 0


def _texts(file: _core.ModelFile) -> str:
    """What the file has to read and write texts with."""
    from qwen3edge.templates.problems import template_problem

    if "tokenizer.ggml.tokens" not in file:
        return "no tokenizer: token ids alone"
    if "tokenizer.chat_template" not in file:
        return "tokenizer, no chat template: raw texts"
    source = file.get("tokenizer.chat_template")
    problem = template_problem(source) if isinstance(source, str) else "the chat template is no text"
    kind = "which thinks" if _thinks(file) else "without thinking"
    return f"tokenizer and chat template, {kind}" + (f"; {problem}" if problem else "")


def _thinks(file: _core.ModelFile) -> bool:
    from qwen3edge.text.reasoning import THINK_OPEN

    template = file.get("tokenizer.chat_template") if "tokenizer.chat_template" in file else ""
    return isinstance(template, str) and THINK_OPEN in template


def _sampling(file: _core.ModelFile) -> dict[str, dict[str, float]]:
    from qwen3edge.generation.sampler import SamplingDefaults

    defaults = SamplingDefaults.from_metadata(file)
    modes = {"thinking": defaults.thinking} if _thinks(file) else {}
    modes["direct"] = defaults.direct
    return {mode: parameters.numbers for mode, parameters in modes.items()}


def _scaling(scaling: dict[str, Any] | None) -> str:
    if scaling is None:
        return "none"
    of = f" from {scaling['original_context']} positions" if scaling["original_context"] else ""
    return f"{scaling['kind']} by {scaling['factor']:g}{of}"


def _lines(file: _core.ModelFile, result: dict[str, Any]) -> list[str]:
    name = file.get("general.name") if "general.name" in file else "a model"
    lines = [
        f"{file.path}: {name}, {format_bytes(file.nbytes)}, {result['weights'] / 1e6:.1f} million weights "
        f"of {result['bits_per_weight']:.2f} bits"
    ]
    numbers = {**result["config"], "rope_scaling": _scaling(result["config"]["rope_scaling"])}
    for key, value in numbers.items():
        if value != 0 or key not in _OF_SOME_BLOCKS:
            lines.append(f"  {key:<24} {f'{value:.6g}' if isinstance(value, float) else value}")
    lines.append(f"  {'texts':<24} {result['texts']}")
    for mode, values in result["sampling"].items():
        shown = ", ".join(f"{key} {value:.6g}" for key, value in values.items())
        lines.append(f"  {f'sampling, {mode}':<24} {shown}")
    formats = sorted(result["formats"].items(), key=lambda item: -item[1]["nbytes"])
    for name, found in formats:
        lines.append(f"  {name:<8} {found['tensors']:>5} tensors {format_bytes(found['nbytes']):>12}")
    for tensor in result.get("tensors", ()):
        shape = f"{tensor['rows']} x {tensor['columns']}"
        lines.append(f"  {tensor['name']:<32} {tensor['format']:<7} {shape:>16} {format_bytes(tensor['nbytes']):>12}")
    if "verified" in result:
        lines.append("  all tensors are as they were written")
    return lines
