"""Compiles every GPU kernel at the shapes of Qwen3 for six targets, without a device, and prints what the code says.

python bench/bench_static.py                                          everything: some minutes
python bench/bench_static.py --model 0.6B --target sm_87 --json
python bench/bench_static.py --summary                                how many, and which are not as they should be
python bench/bench_static.py --markdown --model 0.6B --model 30B-A3B   as docs/decisions/gpu-static.md has some

A row: registers, spills, shared memory, width of the weights' loads (of most loads where there are no weights),
instructions and matrix instructions; the bytes and operations of the shape, and the least microseconds that they take
on three devices by their datasheets. Counts are evidence, not speed: nothing was run.
Exit status 1: a kernel spills, loads weights by less than 128 bits, or converts integers in the loop of a product.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for who runs it by its path

import triton

from bench.gpu.static_rows import DEVICES, MODELS, faults, static_rows
from bench.tables import markdown_table, table
from qwen3edge.kernels.specialization import MODEL_SHAPES, TARGETS

COLUMNS = (
    "registers",
    "spills",
    "shared_bytes",
    "load_bits",
    "instructions",
    "loop_instructions",
    "matrix_instructions",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the rows; the exit status of the gate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", choices=list(MODEL_SHAPES), help=f"default: {', '.join(MODELS)}")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="default: all")
    parser.add_argument("--kernel", default="", metavar="PART", help="only those with this in their name")
    parser.add_argument("--summary", action="store_true", help="a line for each target, beside the faults")
    parser.add_argument("--json", action="store_true", help="a list of rows")
    parser.add_argument("--markdown", action="store_true", help="a line for each distinct kernel, targets beside it")
    chosen = parser.parse_args(arguments)
    rows = list(static_rows(chosen.model or MODELS, chosen.target or TARGETS, chosen.kernel))
    if chosen.json:
        print(json.dumps(rows, indent=1))
    elif chosen.summary:
        print("\n".join(summary(rows)))
    elif chosen.markdown:
        print(markdown(rows))
    else:
        print("\n".join(table([_line(row) for row in rows])))
        print(f"us: the least by bytes and operations on {', '.join(DEVICES)}, from datasheets; nothing was run")
    named = {row["compilation"]: row for row in rows}.values()  # a kernel that several models launch, once
    bad = [f"{row['kernel']} {row['target']}: {fault}" for row in named for fault in faults(row)]
    print("\n".join(bad), file=sys.stderr, end="\n" if bad else "")
    return int(bool(bad))


def summary(rows: Sequence[dict[str, Any]]) -> list[str]:
    """How many kernels were compiled for each target, what each Triton makes of them, and how many have a fault."""
    lines = []
    for target in dict.fromkeys(row["target"] for row in rows):
        distinct = {row["compilation"]: row for row in rows if row["target"] == target}.values()
        bad = sum(bool(faults(row)) for row in distinct)
        models = ", ".join(dict.fromkeys(row["model"] for row in rows))
        lines.append(f"triton {triton.__version__} {target}: {len(distinct)} kernels of {models}, {bad} with a fault")
    return lines


def _line(row: dict[str, Any]) -> dict[str, Any]:
    first = {name: row[name] for name in ("kernel", "target", *COLUMNS)}
    paper = {f"us {name}": f"{row['paper_us'][name]:.1f}" for name in DEVICES}
    return first | paper | {"model": row["model"], "shape": row["shape"]}


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each kernel and shape: what it moves and does, then what each target's code says."""
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        line = {"kernel": f"`{row['kernel']}`", "shape": row["shape"]}
        line |= {"KB": f"{row['bytes'] / 1e3:.1f}", "MFLOP": f"{row['operations'] / 1e6:.1f}"}
        line |= {f"us, {name} (paper)": f"{row['paper_us'][name]:.2f}" for name in DEVICES}
        spilled = f" / **{row['spills']} spilled**" if row["spills"] else ""
        counts = f"{row['registers']} / {row['shared_bytes'] / 1024:.0f}K / {row['load_bits']} / {row['instructions']}"
        lines.setdefault((row["kernel"], row["shape"]), line)[row["target"]] = counts + spilled
    return "\n".join(markdown_table(list(lines.values())))


if __name__ == "__main__":
    sys.exit(main())
