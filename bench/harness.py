"""What every bench shares: the machine and its limits, a check before any timing, an interleaved timer, tables.

The order is fixed: measure the machine, compare the result, then time. A `Report` refuses a row whose case was not
compared, so a bench that skips the comparison prints nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from quiet import QUIET_SAMPLE, BenchError, add_busy_option, busy_cores, wait_for_quiet

Cell = str | int | float | None


@dataclass(frozen=True)
class Machine:
    cpu: str
    cores: int  # usable: affinity mask and quota
    isa_tiers: list[str]  # slowest first
    memory_bytes: int
    system: str
    busy_cores: float  # what other processes used when the bench began

    def line(self) -> str:
        tiers = ", ".join(self.isa_tiers)
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_bytes / 2**30:.0f} GiB, {tiers}; {self.system}; "
            f"{self.busy_cores:.2f} cores busy with other things"
        )


@dataclass(frozen=True)
class Limits:
    """What the machine can do, measured in this process before anything is timed."""

    read_bytes_per_second: dict[int, float]  # by threads
    int8_operations_per_second: dict[str, float]  # by tier, with `threads` threads; 2 a multiply-add
    threads: int

    def lines(self) -> list[str]:
        reads = ", ".join(f"{rate / 1e9:.1f} GB/s with {n}" for n, rate in self.read_bytes_per_second.items())
        peaks = ", ".join(f"{isa} {_number(rate / 1e12)} TOPS" for isa, rate in self.int8_operations_per_second.items())
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
        middle = float(_number(self.median)) / float(_number(other.median))
        return Measured(f"{self.name} / {other.name}", "x", tuple(a / b for a, b in pairs), middle)

    def beside(self, other: Measured) -> str:
        """Both medians, as a ratio's row shows them: "114 / 76.0 tok/s"."""
        return f"{_number(self.median)} / {_number(other.median)} {self.unit}"

    def text(self) -> str:
        return f"{_number(self.median)} ({_number(min(self.samples))} to {_number(max(self.samples))})"

    def to_dict(self) -> dict[str, Any]:
        return {"unit": self.unit, "median": self.median, "spread": self.spread, "samples": list(self.samples)}


def core() -> Any:
    """The compiled core, or a BenchError that says how to get it."""
    try:
        from qwen3edge import _core  # noqa: PLC0415  (a test of parsing needs no core)
    except ImportError as error:
        raise BenchError(f"qwen3edge is not installed for {sys.executable} ({error}); try: pip install .") from error
    return _core


def timer(name: str) -> Any:
    """A timing loop inside the core, e.g. "time_matmul"."""
    found = getattr(core().kernels, name, None)
    if found is None:
        raise BenchError(f"this build of the core has no kernels.{name}; build it again")
    return found


def cpu_model(cpuinfo: str) -> str:
    """The CPU's name in the text of /proc/cpuinfo."""
    values: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, separator, value = line.partition(":")
        if separator:
            values.setdefault(key.strip(), value.strip())
    name = values.get("model name") or values.get("Model") or values.get("Hardware") or platform.machine()
    if "cpu family" in values and "model" in values:  # a virtual machine's name says little by itself
        name += f" (family {values['cpu family']}, model {values['model']})"
    return name


def describe_machine() -> Machine:
    native = core()
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text()
    except OSError:
        cpuinfo = ""
    return Machine(
        cpu=cpu_model(cpuinfo),
        cores=native.usable_cores(),
        isa_tiers=list(native.isa_tiers()),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        busy_cores=busy_cores(QUIET_SAMPLE / 4),
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


@contextlib.contextmanager
def turn(environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Held while whole models are timed. QWEN3EDGE_BENCH_LOCK may name a file that is locked meanwhile (flock):
    whatever else would keep the machine busy for minutes can then wait, turn by turn."""
    name = environment.get("QWEN3EDGE_BENCH_LOCK")
    if not name:
        yield
        return
    with open(name, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def seconds_per_call(call: Callable[[], object], seconds: float = 0.05) -> float:
    """Repeats `call` until `seconds` have passed, at least once."""
    calls, start = 0, time.perf_counter()
    while True:
        call()
        calls += 1
        passed = time.perf_counter() - start
        if passed >= seconds:
            return passed / calls


def interleave(
    candidates: Mapping[str, Callable[[], float]], rounds: int, unit: str, on_round: Callable[[int], None] | None = None
) -> dict[str, Measured]:
    """Takes one sample of each candidate in turn (A, B, A, B, ...), so that a neighbour's noise meets all of them."""
    if rounds < 1:
        raise BenchError(f"expected at least 1 round, found {rounds}")
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for index in range(rounds):
        for name, sample in candidates.items():
            samples[name].append(sample())
        if on_round:
            on_round(index)
    return {name: Measured(name, unit, tuple(values)) for name, values in samples.items()}


@dataclass
class Report:
    """Rows of one bench. `check` first, `add` after: the case of a row must have been compared."""

    title: str
    machine: Machine | None = None
    limits: Limits | None = None
    rows: list[dict[str, Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checked: set[str] = field(default_factory=set)
    details: list[dict[str, Cell]] = field(default_factory=list)  # a second table: what the rows rest on

    def check(self, case: str, got: Any, expected: Any, tolerance: float = 0.0) -> None:
        """Compares arrays: equal values for tolerance 0, else rms(got - expected) <= tolerance * rms(expected)."""
        found, wanted = np.asarray(got), np.asarray(expected)
        if found.shape != wanted.shape:
            raise BenchError(f"{self.title}, {case}: expected shape {wanted.shape}, found {found.shape}")
        if tolerance == 0.0:
            wrong = int(np.count_nonzero(found != wanted))
            if wrong:
                raise BenchError(f"{self.title}, {case}: {wrong} of {wanted.size} values differ from the reference")
        else:
            scale = float(np.sqrt(np.mean(np.square(wanted, dtype=np.float64)))) or 1.0
            error = float(np.sqrt(np.mean(np.square(found.astype(np.float64) - wanted)))) / scale
            if not error <= tolerance:  # a NaN fails as well
                raise BenchError(
                    f"{self.title}, {case}: relative error {error:.3g} (rms), expected at most {tolerance:g}"
                )
        self.checked.add(case)

    def accept(self, case: str, passed: bool, found: str) -> None:
        """For comparisons that are no arrays."""
        if not passed:
            raise BenchError(f"{self.title}, {case}: {found}")
        self.checked.add(case)

    def add(self, case: str, **cells: Cell) -> None:
        if case not in self.checked:
            raise BenchError(f"{self.title}: the result of {case!r} was not compared before it was timed")
        self.rows.append(cells)

    def text(self) -> str:
        lines = [self.title, *self._head(), "", *table(self.rows), *self.notes]
        if self.details:
            lines += ["", *table(self.details)]
        return "\n".join(lines)

    def markdown(self) -> str:
        lines = [f"## {self.title}", "", *markdown_table(self.rows), *(f"\n{note}" for note in self.notes)]
        if self.details:
            lines += ["", *markdown_table(self.details)]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "machine": None if self.machine is None else vars(self.machine),
            "limits": None if self.limits is None else vars(self.limits),
            "rows": self.rows,
            "notes": self.notes,
            "details": self.details,
        }

    def print(self, form: str) -> None:
        """form: text, json or markdown."""
        if form == "json":
            print(json.dumps(self.to_dict(), indent=1))
        else:
            print(self.markdown() if form == "markdown" else self.text())

    def _head(self) -> list[str]:
        return ([self.machine.line()] if self.machine else []) + (self.limits.lines() if self.limits else [])


def _number(value: float) -> str:
    """Three significant digits, no exponent for what people read."""
    if not 0.1 <= abs(value) < 1e6:
        return f"{value:.2g}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _cell(value: Cell) -> str:
    if value is None:
        return "-"
    return _number(value) if isinstance(value, float) else str(value)


def _columns(rows: Sequence[Mapping[str, Cell]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def table(rows: Sequence[Mapping[str, Cell]]) -> list[str]:
    names = _columns(rows)
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(names)]
    lines = [zip(line, widths, strict=True) for line in [names, *cells]] if cells else []
    return ["  ".join(text.ljust(width) for text, width in line).rstrip() for line in lines]


def markdown_table(rows: Sequence[Mapping[str, Cell]]) -> list[str]:
    names = _columns(rows)
    head = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    return head + ["| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows]


def write_between(path: Path, marks: tuple[str, str], text: str) -> None:
    """Replaces what stands between the marks. Raises ValueError for a file without them."""
    begin, end = marks
    before, opening, rest = path.read_text(encoding="utf-8").partition(begin)
    _, closing, after = rest.partition(end)
    if not opening or not closing:
        raise ValueError(f"{path}: expected the marks {begin} and {end}")
    path.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")


def operation_parser(description: str) -> argparse.ArgumentParser:
    """The options that the benches of single operations share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", action="append", default=[], help="a tier; may be repeated (default: all but scalar)")
    parser.add_argument("--rounds", type=positive, default=3, help="of one sample for each tier in turn")
    parser.add_argument("--seconds", type=duration, default=0.1, help="of one sample")
    return parser


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
    """Every tier's arrays equal the scalar tier's, bit for bit; returns those."""
    expected = call("scalar")
    for isa in isas:
        got = call(isa)
        pairs = zip(got, expected, strict=True) if isinstance(expected, tuple) else [(got, expected)]
        for part, wanted in pairs:
            report.check(case, part, wanted)
    return expected


def time_tiers(
    call: Callable[[str], object], isas: Sequence[str], arguments: argparse.Namespace
) -> dict[str, Measured]:
    """Seconds of one call on each tier, in turn."""
    samples = {
        isa: functools.partial(seconds_per_call, functools.partial(call, isa), arguments.seconds) for isa in isas
    }
    return interleave(samples, arguments.rounds, "s")


def main(run: Callable[[argparse.Namespace], Report], parser: argparse.ArgumentParser) -> int:
    """Parses, runs, prints; an expected failure is one line on stderr and status 1."""
    parser.add_argument("--json", dest="form", action="store_const", const="json", help="print one JSON object")
    parser.add_argument("--markdown", dest="form", action="store_const", const="markdown", help="print Markdown")
    add_busy_option(parser)
    arguments = parser.parse_args()
    try:
        if not arguments.busy_anyway:
            wait_for_quiet()
        run(arguments).print(arguments.form or "text")
    except BenchError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return 1
    return 0
