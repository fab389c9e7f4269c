"""What every bench shares: the machine and its limits, a check before any timing, an interleaved timer, a report.

The order is fixed: measure the machine, compare the result, then time. A `Report` refuses a row whose case was not
compared, so a bench that skips the comparison prints nothing.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.quiet import QUIET_SAMPLE, BenchError, add_busy_option, busy_cores, wait_for_quiet
from bench.tables import Cell, markdown_table, number, table


@dataclass(frozen=True)
class Limits:
    """What the machine can do, measured in this process before anything is timed."""

    read_bytes_per_second: dict[int, float]  # by threads
    int8_operations_per_second: dict[str, float]  # by tier, with `threads` threads; 2 a multiply-add
    threads: int

    def lines(self) -> list[str]:
        reads = ", ".join(f"{rate / 1e9:.1f} GB/s with {n}" for n, rate in self.read_bytes_per_second.items())
        peaks = ", ".join(f"{isa} {number(rate / 1e12)} TOPS" for isa, rate in self.int8_operations_per_second.items())
        first = f"read bandwidth by threads: {reads}"
        return [first, f"int8 peak with {self.threads} threads: {peaks}"] if peaks else [first]


@dataclass(frozen=True)
class Measured:
    """One candidate's samples, one a round, in `unit`."""

    name: str
    unit: str
    samples: tuple[float, ...]
    middle: float | None = None  # of a ratio: that of the two medians, as they are printed

    @property
    def median(self) -> float:
        return statistics.median(self.samples) if self.middle is None else self.middle

    @property
    def spread(self) -> float:
        """(largest - smallest) / median."""
        return (max(self.samples) - min(self.samples)) / self.median if self.median else 0.0

    def ratio_to(self, other: Measured) -> Measured:
        """The medians' ratio, of the digits that readers see; the samples are round by round and show its spread."""
        if len(self.samples) != len(other.samples):
            raise BenchError(f"{self.name} has {len(self.samples)} rounds and {other.name} {len(other.samples)}")
        pairs = zip(self.samples, other.samples, strict=True)
        middle = float(number(self.median)) / float(number(other.median))
        return Measured(f"{self.name} / {other.name}", "x", tuple(a / b for a, b in pairs), middle)

    def beside(self, other: Measured) -> str:
        """Both medians, as a ratio's row shows them: "114 / 76.0 tok/s"."""
        return f"{number(self.median)} / {number(other.median)} {self.unit}"

    def text(self) -> str:
        return f"{number(self.median)} ({number(min(self.samples))} to {number(max(self.samples))})"


def core() -> Any:
    """The compiled core, or a BenchError that says how to get it."""
    try:
        from qwen3edge import _core  # noqa: PLC0415  (a test of parsing needs no core)
    except ImportError as error:
        raise BenchError(f"qwen3edge is not built for {sys.executable} ({error}); try: make") from error
    return _core


def cpu_model(cpuinfo: str) -> str:
    """The CPU's name in the text of /proc/cpuinfo."""
    lines = [line.partition(":") for line in reversed(cpuinfo.splitlines())]  # the first of a name counts
    values = {key.strip(): value.strip() for key, separator, value in lines if separator}
    name = values.get("model name") or values.get("Model") or values.get("Hardware") or platform.machine()
    if "cpu family" in values and "model" in values:  # a virtual machine's name says little by itself
        name += f" (family {values['cpu family']}, model {values['model']})"
    return name


def describe_machine() -> str:
    """A line for a reader of figures."""
    cpuinfo, memory = Path("/proc/cpuinfo"), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return (
        f"{cpu_model(cpuinfo.read_text() if cpuinfo.exists() else '')}, {core().usable_cores()} cores, "
        f"{memory / 2**30:.0f} GiB, {', '.join(core().isa_tiers())}; {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}; {busy_cores(QUIET_SAMPLE / 4):.2f} cores busy with other things"
    )


def measure_limits(seconds: float = 0.5, threads: int | None = None, isas: Sequence[str] | None = None) -> Limits:
    """Read bandwidth with 1 .. `threads` threads, and the int8 peak of each tier; `seconds` for each figure."""
    native = core()
    count, tiers = threads or native.usable_cores(), native.isa_tiers() if isas is None else isas
    return Limits(
        read_bytes_per_second={n: native.ReadProbe(n).measure(seconds) for n in range(1, count + 1)},
        int8_operations_per_second={isa: native.int8_peak(isa, count, seconds) for isa in tiers},
        threads=count,
    )


def seconds_per_call(call: Callable[[], object], seconds: float = 0.05) -> float:
    """Repeats `call` until `seconds` have passed, at least once."""
    calls, start = 0, time.perf_counter()
    while True:
        call()
        calls += 1
        passed = time.perf_counter() - start
        if passed >= seconds:
            return passed / calls


def interleave(candidates: Mapping[str, Callable[[], float]], rounds: int, unit: str = "s") -> dict[str, Measured]:
    """Takes one sample of each candidate in turn (A, B, A, B, ...), so that a neighbour's noise meets all of them."""
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, sample in candidates.items():
            samples[name].append(sample())
    return {name: Measured(name, unit, tuple(values)) for name, values in samples.items()}


@dataclass
class Report:
    """Rows of one bench. `check` first, `add` after: the case of a row must have been compared."""

    title: str
    machine: str = ""
    limits: Limits | None = None
    rows: list[dict[str, Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checked: set[str] = field(default_factory=set)
    details: list[dict[str, Cell]] = field(default_factory=list)  # a second table: what the rows rest on

    def check(self, case: str, got: Any, expected: Any) -> None:
        """Compares arrays, whose values must be equal."""
        found, wanted = np.asarray(got), np.asarray(expected)
        if found.shape != wanted.shape:
            raise BenchError(f"{self.title}, {case}: expected shape {wanted.shape}, found {found.shape}")
        wrong = int(np.count_nonzero(found != wanted))
        self.accept(case, not wrong, f"{wrong} of {wanted.size} values differ from the reference")

    def accept(self, case: str, passed: bool, found: str) -> None:
        """For comparisons that are no arrays."""
        if not passed:
            raise BenchError(f"{self.title}, {case}: {found}")
        self.checked.add(case)

    def add(self, case: str, **cells: Cell) -> None:
        if case not in self.checked:
            raise BenchError(f"{self.title}: the result of {case!r} was not compared before it was timed")
        self.rows.append(cells)

    def add_timed(
        self, case: str, time: Measured, *, nbytes: float = 0, operations: float = 0, isa: str = "", **cells: Cell
    ) -> None:
        """A row of what took `time` in seconds: its cells, its spread and, of what is counted, rates and their shares.

        nbytes: read and written once; operations: two for a multiply-add, on the tier `isa`.
        """
        assert self.limits is not None
        rates: dict[str, Cell] = {"spread": time.spread}
        if nbytes:
            rate = nbytes / time.median
            rates |= {"GB_s": rate / 1e9, "of_read": rate / self.limits.read_bytes_per_second[self.limits.threads]}
        if operations:
            rate = operations / time.median
            rates |= {"GOPS": rate / 1e9, "of_peak": rate / self.limits.int8_operations_per_second[isa]}
        self.add(case, **cells, **({"isa": isa} if isa else {}), **rates)

    def time_tiers(
        self, case: str, time: Callable[[str], float], isas: Sequence[str], rounds: int, *, column: str, factor: float,
        nbytes: float = 0, operations: float = 0, **cells: Cell,
    ) -> None:  # fmt: skip
        """A row for each tier, in turns: `time` takes its name and returns seconds, whose median times `factor` stands
        in the column.
        """
        for isa, took in interleave({isa: functools.partial(time, isa) for isa in isas}, rounds).items():
            figure = {column: took.median * factor}
            self.add_timed(case, took, nbytes=nbytes, operations=operations, isa=isa, **cells, **figure)

    def text(self) -> str:
        limits = self.limits.lines() if self.limits else []
        lines = [self.title, self.machine, *limits, "", *table(self.rows), *self.notes]
        return "\n".join([*lines, *(["", *table(self.details)] if self.details else [])])

    def markdown(self) -> str:
        lines = [f"## {self.title}", "", *markdown_table(self.rows), *(f"\n{note}" for note in self.notes)]
        return "\n".join([*lines, *(["", *markdown_table(self.details)] if self.details else [])])

    def json(self) -> str:
        parts = {"title": self.title, "machine": self.machine, "limits": self.limits and vars(self.limits)}
        return json.dumps(parts | {"rows": self.rows, "notes": self.notes, "details": self.details}, indent=1)


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """How long a single operation is timed."""
    parser.add_argument("--rounds", type=positive, default=3, help="of one sample of each in turn")
    parser.add_argument("--seconds", type=duration, default=0.1, help="of one sample")


def add_tiers(parser: argparse.ArgumentParser) -> None:
    """The same, and on which tiers."""
    parser.add_argument("--isa", action="append", default=[], help="a tier; may be repeated (default: all but scalar)")
    add_sampling(parser)


def positive(text: str) -> int:
    """For argparse: a whole number above 0."""
    if not text.isdecimal() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")
    return int(text)


def duration(text: str) -> float:
    """For argparse: seconds above 0, a minute at most."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value <= 60:
        raise argparse.ArgumentTypeError(f"expected seconds above 0 and up to 60, found {text!r}")
    return value


def existing(text: str) -> Path:
    """For argparse: a file or a folder that is there."""
    if not Path(text).exists():
        raise argparse.ArgumentTypeError(f"expected a file or a folder, found no {text}")
    return Path(text)


def usable_threads(asked: int | None) -> int:
    """By the runtime's rule: what was asked for, but no more than the process has cores: they would take turns."""
    cores: int = core().usable_cores()
    if asked is not None and asked > cores:
        print(f"--threads {asked}: this process may use {cores} of the cores, so does the bench", file=sys.stderr)
    return min(asked or cores, cores)


def begin(title: str, arguments: argparse.Namespace, threads: int = 1) -> tuple[Report, list[str]]:
    """Measures the machine; returns an empty report and the tiers to time."""
    available = list(core().isa_tiers())
    if unknown := [isa for isa in arguments.isa if isa not in available]:
        raise BenchError(f"--isa: expected one of {', '.join(available)}, found {unknown[0]}")
    isas = arguments.isa or available[1:] or available
    return Report(title, describe_machine(), measure_limits(threads=threads, isas=isas)), isas


def check_tiers(report: Report, case: str, call: Callable[[str], Any], isas: Sequence[str]) -> Any:
    """Every tier's arrays equal the scalar tier's, bit for bit; returns those. tests/ukernels/ holds the scalar tier's
    against float64.
    """
    expected = call("scalar")
    for isa in isas:
        got = call(isa)
        pairs = zip(got, expected, strict=True) if isinstance(expected, tuple) else [(got, expected)]
        for part, wanted in pairs:
            report.check(case, part, wanted)
    return expected


def main(
    run: Callable[[argparse.Namespace], Report], parser: argparse.ArgumentParser, words: Sequence[str] | None = None
) -> int:
    """Parses, runs, prints; an expected failure is one line on stderr and status 1. words: default: the command's."""
    parser.add_argument("--json", dest="form", action="store_const", const=Report.json, help="print one JSON object")
    parser.add_argument("--markdown", dest="form", action="store_const", const=Report.markdown, help="print Markdown")
    add_busy_option(parser)
    arguments = parser.parse_args(words)
    try:
        if not arguments.busy_anyway:
            wait_for_quiet()
        report = run(arguments)
        print((arguments.form or Report.text)(report))
    except (BenchError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0
