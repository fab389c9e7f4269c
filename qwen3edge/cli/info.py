"""`qwen3edge info MODEL`."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import asdict
from typing import Any

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.runtime.plan import format_bytes


def run(arguments: argparse.Namespace) -> int:
    """Prints what the header says; with --verify, after reading all weights and checking them."""
    file = _core.ModelFile(arguments.model)
    config = ModelConfig.from_metadata(file)
    if arguments.verify:
        file.verify()
    tensors = file.tensors()
    nbytes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for tensor in tensors:
        nbytes[tensor["format"]] += tensor["nbytes"]
        counts[tensor["format"]] += 1
    if arguments.json:
        result: dict[str, Any] = {
            "path": file.path,
            "nbytes": file.nbytes,
            "config": asdict(config),
            "formats": {name: {"tensors": counts[name], "nbytes": nbytes[name]} for name in nbytes},
        }
        if arguments.verify:
            result["verified"] = True
        if arguments.tensors:
            result["tensors"] = tensors
        print(json.dumps(result))
        return 0
    name = file.get("general.name") if "general.name" in file else "a model"
    print(f"{file.path}: {name}, {format_bytes(file.nbytes)}")
    for key, value in asdict(config).items():
        print(f"  {key:<24} {value}")
    for name, size in nbytes.most_common():
        print(f"  {name:<8} {counts[name]:>5} tensors {format_bytes(size):>12}")
    if arguments.tensors:
        for tensor in tensors:
            shape = f"{tensor['rows']} x {tensor['columns']}"
            print(f"  {tensor['name']:<32} {tensor['format']:<7} {shape:>16} {format_bytes(tensor['nbytes']):>12}")
    if arguments.verify:
        print(f"  all {len(tensors)} tensors are as they were written")
    return 0
