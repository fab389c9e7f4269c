"""What is compared before anything is timed, each in a process of its own, so that the one that measures stays small: a
child's peak is never below its parent's.

    python -m bench.models.checks logits MODEL.q3e THREADS
    python -m bench.models.checks file FOLDER FILE.q3e QUANT
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from bench.harness import Report, core, describe_machine, measure_limits
from bench.peers import run_bench
from bench.quiet import BenchError

LOGITS_TOKENS = 8  # a prefill and a decoded token use different kernels; few, as the scalar tier computes them too
# Relative rms error of a normally distributed matrix: 4 bits 0.08 to 0.1, 8 bits 0.006.
TOLERANCE = {"int4": 0.12, "int8": 0.012}
FILE_TENSORS = {
    "model.layers.0.self_attn.q_proj.weight": "blk.0.attn_q.weight",
    "model.layers.0.mlp.down_proj.weight": "blk.0.ffn_down.weight",
}


def checked_report(title: str, models: Sequence[Path], threads: int) -> Report:
    """The machine's limits, and the case "logits": every model's compared. Raises BenchError."""
    limits = measure_limits(threads=threads, isas=[core().selected_isa()])
    report = Report(title, describe_machine(), limits)
    for model in models:
        run_bench("models.checks", "logits", model, str(threads))
    report.accept("logits", True, "")
    return report


def check_logits(model: str, threads: str) -> None:
    """Logits of every tier that may be timed equal the scalar tier's, bit for bit. Raises BenchError."""
    file = core().ModelFile(model)
    tokens = np.random.default_rng(0).integers(0, file.get("qwen3edge.vocab_size"), LOGITS_TOKENS).astype(np.int32)
    positions, sequences = np.arange(LOGITS_TOKENS, dtype=np.int32), np.zeros(LOGITS_TOKENS, dtype=np.int32)
    want = np.ones(LOGITS_TOKENS, dtype=np.bool_)

    def logits(isa: str) -> Any:
        engine = core().Engine(file, context=256, threads=int(threads), isa=isa)
        parts = [slice(0, LOGITS_TOKENS - 1), slice(LOGITS_TOKENS - 1, None)]  # a prefill, then one decoded token
        return np.concatenate([engine.forward(tokens[p], positions[p], sequences[p], want[p]) for p in parts])

    expected = logits("scalar")
    for isa in core().isa_tiers():
        got = expected if isa == "scalar" else logits(isa)
        if not np.isfinite(got).all() or not np.array_equal(got, expected):
            wrong = np.count_nonzero(got != expected)
            raise BenchError(f"{isa}: {wrong} of {got.size} logits differ from the scalar tier's")


def read_tensor(folder: Path, name: str) -> Any:
    """One matrix of a safetensors checkpoint, in float32. By their library: the check owes nothing to the converter."""
    for shard in sorted(folder.glob("*.safetensors")):
        with safe_open(shard, "pt") as file:
            if name in file.keys():  # noqa: SIM118  (it is no mapping)
                return file.get_tensor(name).float().numpy()
    raise BenchError(f"{folder} has no tensor {name}")


def check_file(source: str, target: str, quant: str) -> None:
    """Checksums hold and two matrices are near their originals. Raises BenchError."""
    file = core().ModelFile(target)
    file.verify()
    for theirs, ours in FILE_TENSORS.items():
        wanted, found = read_tensor(Path(source), theirs), file.dequantize(ours)
        error = float(np.sqrt(np.mean(np.square(found - wanted)) / np.mean(np.square(wanted))))
        if not error <= TOLERANCE[quant]:
            raise BenchError(f"{ours}: relative rms error {error:.4f}, expected at most {TOLERANCE[quant]}")


if __name__ == "__main__":
    check, *words = sys.argv[1:]
    try:
        {"logits": check_logits, "file": check_file}[check](*words)
    except BenchError as failure:
        sys.exit(str(failure))
