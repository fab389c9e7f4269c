"""Runs all tests: `python tests/run.py [arguments for pytest]`; what `make test` calls.

Three processes, as Triton decides at import whether it interprets or compiles: the kernels interpreted, the kernels
compiled, and everything else. The last line sums up all three; the exit status is the worst of theirs.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NO_TESTS = 5  # pytest's status where all are skipped while they are collected, or deselected
_COUNT = re.compile(rb"(\d+) (passed|failed|errors?|skipped|deselected|xfailed|xpassed|warnings?)\b")


def processes() -> list[tuple[list[str], dict[str, str]]]:
    """Arguments and environment of each."""
    # Two workers, as most tests keep one core busy. Where tests share much, a file stays with one of them. Without the
    # plugin it takes longer. Where a worker dies the run ends: with another in its place, both may wait for ever.
    workers = ["-n", "2", "--max-worker-restart", "0"] if find_spec("xdist") else []
    by_file = [*workers, "--dist", "loadfile"] if workers else []
    return [
        (["tests/kernels", *workers], {"TRITON_INTERPRET": "1"}),
        (["tests/kernels_compiled", *by_file], {}),
        (["tests", *by_file], {}),  # tests/conftest.py leaves the other two out
    ]


def run(arguments: list[str], environment: dict[str, str]) -> tuple[int, Counter[str]]:
    """One process, its output passed on as it comes; its exit status and what its summary counts."""
    plain = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    color = ["--color=yes"] if sys.stdout.isatty() else []
    print(*(f"{name}={value}" for name, value in environment.items()), "pytest", *arguments, flush=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *color, *arguments],
        cwd=ROOT,
        env=plain | environment,
        stdout=subprocess.PIPE,
    )
    tail = b""
    with process, process.stdout as output:
        while part := os.read(output.fileno(), 1 << 16):
            sys.stdout.buffer.write(part)
            sys.stdout.flush()
            tail = (tail + part)[-(1 << 16) :]
    lines = re.sub(rb"\x1b\[[0-9;]*m", b"", tail).strip().splitlines()
    counts: Counter[str] = Counter()
    for count, kind in _COUNT.findall(lines[-1] if lines else b""):
        counts[kind.decode().rstrip("s") if kind[:5] in (b"error", b"warni") else kind.decode()] += int(count)
    return process.returncode, counts


def main(arguments: list[str]) -> int:
    """Runs every process, whatever the ones before did."""
    start, worst, total = time.monotonic(), 0, Counter()
    for own, environment in processes():
        status, counts = run([*own, *arguments], environment)
        total += counts
        # A negative status is a signal: nothing is worse.
        worst = worst if status == NO_TESTS else max(worst, 128 - status if status < 0 else status)
    if worst and not total["failed"] + total["error"]:
        total["error"] += 1  # a process ended before it could count
    shown = [f"{total[kind]} {kind}" for kind in ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed")]
    shown += [f"{total[kind]} {kind}{'s' * (total[kind] > 1)}" for kind in ("warning", "error")]
    counted = [text for text in shown if not text.startswith("0 ")]
    print(f"{', '.join(counted) or 'no tests ran'} in {time.monotonic() - start:.2f}s")
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
