"""The first minutes on a GPU: whether everything is right there, what a launch costs, how fast models and kernels are.

python bench/device_check.py --prepare DATA                  on a CPU before: tiny models, and what they must answer
python bench/device_check.py --data DATA --out OUT           eight minutes on the machine with the GPU
python bench/device_check.py --only kernels,decode --models 0.6B,8B --budget 150 --data DATA --out OUT
python bench/device_check.py --interpret --data DATA --out OUT      every step on tiny shapes, without a GPU
python bench/device_check.py --render OUT/results.jsonl      the page gpu-bench.md, on standard output

A step is a process of its own with a hard limit, so that a crash or a hang costs that step alone. Right comes before
fast. Results are written at once, a line of JSON each, beside what had been expected (bench/device/predictions.py).
Exit status 1: something was wrong, fell down, hung or had no time. Clocks and other settings of the device are left
alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for who runs it by its path

from bench.device.parent import STEPS, run_steps
from bench.device.render import page, read

BUDGET = 465.0  # seconds
MODELS = "0.6B,8B,30B-A3B,4B"


def main(arguments: Sequence[str] | None = None) -> int:
    """1 where a step was not green."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="tiny models and expected.npz, of --prepare")
    parser.add_argument("--out", type=Path, help="a folder for results.jsonl")
    parser.add_argument("--budget", type=float, default=BUDGET, metavar="SECONDS")
    parser.add_argument("--only", default="", metavar="STEPS", help=", ".join(step.name for step in STEPS))
    parser.add_argument("--models", default=MODELS, help=f"default: {MODELS}")
    parser.add_argument("--interpret", action="store_true", help="tiny shapes in Triton's interpreter, no clock")
    parser.add_argument("--prepare", type=Path, metavar="DATA")
    parser.add_argument("--render", type=Path, metavar="RESULTS")
    chosen = parser.parse_args(arguments)
    if chosen.render:
        print(page(read(chosen.render)), end="")
        return 0
    if chosen.prepare:
        from bench.device.preparing import prepare_all  # noqa: PLC0415 -- what it needs is not on the machine

        prepare_all(chosen.prepare)
        return 0
    if chosen.data is None or chosen.out is None:
        parser.error("expected --data and --out, or --prepare, or --render")
    wanted = chosen.only.split(",") if chosen.only else [step.name for step in STEPS]
    if unknown := set(wanted) - {step.name for step in STEPS}:
        parser.error(f"--only: expected some of {', '.join(step.name for step in STEPS)}, found {', '.join(unknown)}")
    steps = [step for step in STEPS if step.name in wanted]
    total = sum(step.seconds for step in steps)
    print(f"{len(steps)} steps of {total} s in all, {chosen.budget:.0f} s to spend", flush=True)
    environment = {"TRITON_INTERPRET": "1"} if chosen.interpret else {}
    given = ["--data", str(chosen.data.absolute()), "--models", chosen.models]
    ended = run_steps(steps, chosen.out.absolute(), chosen.budget, given, environment)
    print("; ".join(f"{name}: {how}" for name, how in ended.items()))
    return int(any(how != "ok" for how in ended.values()))


if __name__ == "__main__":
    sys.exit(main())
