"""Runs the steps one after the other, each in a process of its own with a hard limit; touches no device itself."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Step:
    """seconds: of a budget of 465. module: has `run(context)`. Green: what must hold for it to pass."""

    name: str
    module: str
    seconds: int
    green: str


STEPS = (
    Step("compile", "bench.device.compile_check", 40, "no spill, weights and cache by 128 bits"),
    Step("constants", "bench.device.constants", 15, "figures for docs"),
    Step("codes", "bench.device.codes", 15, "every code, step and offset of every format exactly"),
    Step("kernels", "bench.device.kernels", 60, "each kernel within the tests' bounds, twice the same"),
    Step("models", "bench.device.tiny_models", 45, "logits and greedy answers of the CPU, captured as not captured"),
    Step("decode", "bench.device.decode_speed", 130, "figures for docs"),
    Step("products", "bench.device.product_speed", 90, "figures for docs"),
    Step("tune", "bench.device.tuning", 70, "an entry that is right and faster than what is there"),
)


def run_steps(
    steps: Sequence[Step], out: Path, budget: float, arguments: Sequence[str], environment: dict[str, str]
) -> dict[str, str]:
    """How each ended: "ok", "failed", "hung" or "no time". arguments: for the children, besides their step's own."""
    out.mkdir(parents=True, exist_ok=True)
    begin, total = time.monotonic(), sum(step.seconds for step in steps)
    ended = {}
    for step in steps:
        # Of a larger budget every step has its share; of a smaller one the first have theirs.
        limit = min(step.seconds * max(budget / total, 1.0), budget - (time.monotonic() - begin))
        if limit < min(5, step.seconds):
            ended[step.name] = "no time"
        else:
            ended[step.name] = run_child(step, out, limit, arguments, environment)
        _note(out, {"step": step.name, "name": "step", "ok": ended[step.name] == "ok", "ended": ended[step.name]})
        print(f"{step.name}: {ended[step.name]} after {time.monotonic() - begin:.0f} s of {budget:.0f}", flush=True)
    return ended


def run_child(step: Step, out: Path, limit: float, arguments: Sequence[str], environment: dict[str, str]) -> str:
    """One step; its whole process group ends with the limit."""
    command = [sys.executable, "-m", "bench.device.child", "--module", step.module, "--step", step.name]
    command += ["--out", str(out), "--seconds", f"{limit:.1f}", *arguments]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    child = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path} | environment, start_new_session=True
    )
    try:
        return "ok" if child.wait(limit) == 0 else "failed"
    except subprocess.TimeoutExpired:
        return "hung"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # workers of a step that has ended, too
        child.wait()


def _note(out: Path, line: dict[str, object]) -> None:
    with (out / "results.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
