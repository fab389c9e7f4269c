"""Compiles what models launch on targets, each distinct specialization once, and counts in its code."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

from bench.gpu.static_loads import amd_loads, ptx_loads, weight_bits, widest_share
from qwen3edge.kernels.catalog import all_specializations, compilation
from qwen3edge.kernels.compiled import MachineCode, compile_for
from qwen3edge.kernels.specialization import Specialization
from qwen3edge.runtime.aot_shapes import shape_of

MODELS = ("0.6B", "4B", "8B", "30B-A3B")
MATRIX = ("HMMA", "IMMA", "QMMA", "HGMMA", "IGMMA", "QGMMA", "v_mfma", "v_wmma")
CONVERSIONS = ("I2F",)


# Datasheet figures: bandwidth in GB/s; dense fp16 tensor operations with fp32 sums, in TFLOP/s. Paper only.
# NVIDIA: Jetson AGX Orin Technical Brief (64 GB, 170 sparse int8 TOPS of its GPU); Ada GPU Architecture, appendix A;
# H100 Tensor Core GPU datasheet (SXM, half of the sparse figure).
DEVICES = {"Orin": (204.8, 42.5), "4090": (1008, 165.2), "H100": (3350, 989.4)}


def paper_microseconds(device: str, bytes_moved: int, operations: int) -> float:
    """The least that a kernel's bytes and operations take: whichever of both is longer."""
    bandwidth, tensor = DEVICES[device]
    return round(max(bytes_moved / (bandwidth * 1e3), operations / (tensor * 1e6)), 3)


def count(specialization: Specialization, code: MachineCode, target: str) -> dict[str, int]:
    """What code says of itself that was compiled from the specialization for the target."""
    return {
        "registers": code.registers,
        "spills": code.spills,  # bytes of stack on NVIDIA, registers on AMD
        "shared_bytes": code.shared_bytes,
        "load_bits": _load_bits(specialization, code, target),
        "instructions": code.instructions,
        "loop_instructions": sum(code.loop_opcodes.values()),
        "matrix_instructions": code.count(*MATRIX),
        "loop_conversions": code.count(*CONVERSIONS, loops=True),  # I2F in loops
    }


def _load_bits(specialization: Specialization, code: MachineCode, target: str) -> int:
    """NVIDIA: the narrowest load of a weight; else the width by which most bytes come."""
    if target.startswith("gfx"):
        return widest_share(amd_loads(code.opcodes))
    ptx = code.compiled.asm["ptx"]
    if specialization.weight_arguments:
        given = [name for name in specialization.kernel.arg_names if name not in specialization.constexprs]
        return weight_bits(ptx, given, specialization.weight_arguments)
    return widest_share(sum(ptx_loads(ptx).values(), Counter()))


def _compile(job: tuple[str, str, int]) -> dict[str, int]:
    model, target, index = job
    specialization = all_specializations(shape_of(model), target)[index]
    return count(specialization, compile_for(specialization, target), target)


def static_rows(models: Iterable[str], targets: Iterable[str], only: str = "") -> Iterator[dict[str, object]]:
    """A row for each specialization whose name has `only` in it, in order; all are compiled before the first."""
    wanted: list[tuple[Specialization, str, str, tuple[object, ...]]] = []
    jobs: dict[tuple[object, ...], tuple[str, str, int]] = {}
    for target in targets:
        for model in models:
            for index, specialization in enumerate(all_specializations(shape_of(model), target)):
                if only in specialization.name:
                    key = (target, compilation(specialization))
                    jobs.setdefault(key, (model, target, index))
                    wanted.append((specialization, model, target, key))
    numbers = {key: number for number, key in enumerate(jobs)}
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as workers:
        counted = dict(zip(jobs, workers.map(_compile, jobs.values()), strict=True))
        for specialization, model, target, key in wanted:
            moved, operations = specialization.bytes_moved, specialization.operations
            yield {
                "kernel": specialization.name,
                "target": target,
                "model": model,
                "shape": specialization.shape,
                "compilation": numbers[key],  # equal for rows of one code
                **counted[key],
                "weights": bool(specialization.weight_arguments),
                "bytes": moved,
                "operations": operations,
                "paper_us": {name: paper_microseconds(name, moved, operations) for name in DEVICES},
            }


def faults(row: dict[str, object]) -> list[str]:
    """What the gate does not let pass: spills, narrow loads of weights on NVIDIA, conversions in loops of products."""
    found = []
    if row["spills"]:
        found.append(f"{row['spills']} spilled")
    if row["weights"] and str(row["target"]).startswith("sm_"):
        if row["load_bits"] != 128:
            found.append(f"weights loaded by {row['load_bits']} bits")
        if row["loop_conversions"]:
            found.append(f"{row['loop_conversions']} I2F in loops")
    return found
