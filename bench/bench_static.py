"""Compiles every GPU kernel at the shapes of Qwen3 for six targets, without a device, and prints what the code says.

python bench/bench_static.py                                          everything: some minutes
python bench/bench_static.py --model 0.6B --target sm_87 --json
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

from static_rows import DEVICES, MODELS, faults, static_rows

from qwen3edge.kernels.specialization import MODEL_SHAPES, TARGETS

COLUMNS = {
    "registers": "regs",
    "spills": "spills",
    "shared_bytes": "shared",
    "load_bits": "load",
    "instructions": "instr",
    "loop_instructions": "loop",
    "matrix_instructions": "matrix",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the rows; the exit status of the gate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", choices=list(MODEL_SHAPES), help=f"default: {', '.join(MODELS)}")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="default: all")
    parser.add_argument("--kernel", default="", metavar="PART", help="only those with this in their name")
    parser.add_argument("--json", action="store_true", help="a list of rows")
    parser.add_argument("--markdown", action="store_true", help="a line for each distinct kernel, targets beside it")
    chosen = parser.parse_args(arguments)
    rows = static_rows(chosen.model or MODELS, chosen.target or TARGETS, chosen.kernel)
    if chosen.json:
        found = list(rows)
        print(json.dumps(found, indent=1))
    elif chosen.markdown:
        found = list(rows)
        print(markdown(found))
    else:
        found = []
        print(
            " ".join(
                [f"{'kernel':42} {'target':8}", *(f"{title:>7}" for title in COLUMNS.values()), "us on paper", "shape"]
            )
        )
        for row in rows:
            found.append(row)
            paper = " ".join(f"{row['paper_us'][name]:8.1f}" for name in DEVICES)
            counts = " ".join(f"{row[key]:7}" for key in COLUMNS)
            print(f"{row['kernel']:42} {row['target']:8} {counts} {paper} {row['model']} {row['shape']}", flush=True)
        print(
            f"us on paper: the least by bytes and operations on {', '.join(DEVICES)}, from datasheets; nothing was run"
        )
    bad = [(row, fault) for row in found for fault in faults(row)]
    for row, fault in bad:
        print(f"{row['kernel']} {row['target']}: {fault}", file=sys.stderr)
    return int(bool(bad))


def markdown(rows: Sequence[dict[str, object]]) -> str:
    """A line for each kernel and shape: what it moves and does, then what each target's code says."""
    targets = list(dict.fromkeys(row["target"] for row in rows))
    lines: dict[tuple[object, object], dict[object, dict[str, object]]] = {}
    for row in rows:
        lines.setdefault((row["kernel"], row["shape"]), {})[row["target"]] = row
    titles = ["kernel", "shape", "KB", "MFLOP", *(f"us, {name} (paper)" for name in DEVICES), *targets]
    table = [f"| {' | '.join(map(str, titles))} |", f"| {' | '.join(['---'] * len(titles))} |"]
    for (kernel, shape), by_target in lines.items():
        row = next(iter(by_target.values()))
        cells = [f"`{kernel}`", shape, f"{row['bytes'] / 1e3:.1f}", f"{row['operations'] / 1e6:.1f}"]
        cells += [f"{row['paper_us'][name]:.2f}" for name in DEVICES]
        for target in targets:
            one = by_target.get(target)
            cells.append(
                f"{one['registers']} / {one['shared_bytes'] / 1024:.0f}K / {one['load_bits']} / {one['instructions']}"
                + (f" / **{one['spills']} spilled**" if one["spills"] else "")
                if one
                else ""
            )
        table.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(table)


if __name__ == "__main__":
    sys.exit(main())
