"""The project's targets, one claim a line: what was wanted, what was measured, met or not.

    python -m bench.models.targets --model INT4.q3e --int8 INT8.q3e --large 4B-INT4.q3e --peer-model Q4_0.gguf \\
        --peer-int8 Q8_0.gguf --openvino FOLDER --rounds 3 [--scene short --scene long] [--markdown]

A scene is a set of engines that take turns; TARGETS says which claims rest on its samples. Shares are of the read
bandwidth or of the int8 peak that the same process, or the same run, measured. A claim is met by its median.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.harness import Measured, Report, core, existing, interleave, main, positive, usable_threads
from bench.models import engines
from bench.models.checks import checked_report
from bench.models.engines import Engine
from bench.peers import IK_LLAMA, LLAMA, LLAMA_AVX2, OPENVINO, json_of, run_bench
from bench.quiet import BenchError
from bench.shapes import matrices
from bench.tables import Cell
from qwen3edge.convert.recipe import RECIPES

LONG, SHORT = 4096, 512
DECODED, DECODED_LATE = 64, 32  # after SHORT and LONG tokens
BATCH, BATCH_PROMPT = 8, 64
GEMM_SECONDS, GEMM_BYTES = 0.2, 64 << 20


@dataclass(frozen=True)
class Target:
    """What is wanted of one group of a scene's runs. bound None: measured for the record, nothing is asked of it."""

    row: str
    target: str
    what: str  # of a sample: prefill, decode, bandwidth_share, peak or file
    bound: float | None
    rivals: str = ""  # the group whose best run it is divided by; none: it is a share by itself
    own: str = "own"  # the group that is looked at
    at_most: bool = False  # the bound is a ceiling, and the best is the least
    unit: str = "x"


TARGETS = {
    "short": (
        Target("decode int4", "file no larger than the peer's", "file", 1, "llama.cpp", at_most=True),
        Target("decode int4", ">= 90 % of the read bandwidth", "bandwidth_share", 0.9),
        Target("decode int4", ">= 1.3 x the best peer", "decode", 1.3, "peers"),
        Target(f"prefill {SHORT}", "AMX: >= 3 x the best peer", "prefill", 3, "peers", "amx"),
        Target(f"prefill {SHORT}", "(the best peer; no target)", "prefill", None, "peers"),
        Target(f"prefill {SHORT}", "avx512: >= 1.5 x llama.cpp built for it", "prefill", 1.5, "for avx512", "avx512"),
        Target(f"prefill {SHORT}", "avx2: >= 1.2 x llama.cpp built for it", "prefill", 1.2, "for avx2", "avx2"),
    ),
    "int8": (
        Target("decode int8", ">= 90 % of the read bandwidth", "bandwidth_share", 0.9),
        Target("decode int8", "(the best peer; no target)", "decode", None, "peers"),
    ),
    "large": (Target("decode int4, 4B shape", ">= 93 % of the read bandwidth", "bandwidth_share", 0.93),),
    "long": (
        Target(f"prefill {LONG}", f">= 50 % of the rate at {SHORT}", "prefill", 0.5, "short"),
        Target(f"prefill {LONG}", ">= 3 x the best peer", "prefill", 3, "peers"),
        Target(f"decode after {LONG}, int8 KV", ">= 85 % of the bandwidth, KV counted", "bandwidth_share", 0.85),
        Target(f"decode after {LONG}, int8 KV", ">= 2.3 x the best peer", "decode", 2.3, "peers"),
        Target(f"peak memory at {LONG}", "<= 0.55 x llama.cpp", "peak", 0.55, "llama.cpp", at_most=True),
    ),
    "batch": (
        Target(f"{BATCH} sequences at once, the engine's own", ">= 6 x the tokens/s of one", "decode", 6, "one",
               unit="x one"),
    ),
}  # fmt: skip
UNITS = {"file": "MB", "peak": "MB", "bandwidth_share": "of the bandwidth"}  # of what is measured, if not tok/s


@dataclass(frozen=True)
class Claim:
    """One line of the table. measured None: it could not be measured here, see `reason`."""

    row: str
    target: str
    measured: Measured | None
    bound: float | None = None
    at_most: bool = False
    reason: str = ""

    @property
    def verdict(self) -> str:
        if self.measured is None:
            return self.reason
        if self.bound is None:
            return "-"
        median = self.measured.median
        return "met" if (median <= self.bound if self.at_most else median >= self.bound) else "not met"

    def cells(self) -> dict[str, Cell]:
        measured = "-" if self.measured is None else f"{self.measured.text()} {self.measured.unit}"
        against = self.reason if self.measured is not None else ""
        return {"row": self.row, "target": self.target, "measured": measured, "verdict": self.verdict, "note": against}


@dataclass
class Scene:
    """The runs that take turns, and the groups that targets speak of."""

    threads: int
    runs: dict[str, tuple[Engine, engines.Work]] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)  # names of runs
    missing: dict[str, str] = field(default_factory=dict)  # why a group is empty

    def add(
        self, group: str, found: Sequence[Engine], label: object, size: tuple[int, ...], missing: str = "no peer"
    ) -> None:
        """label: the kind of work, as the details name it; size: tokens prefilled, decoded, and sequences if several.
        A run may be in several groups.
        """
        prompt, generate, *sequences = size
        work = engines.Work(prompt, generate, self.threads, *sequences)
        self.groups[group], self.missing[group] = [f"{label}: {each.name}" for each in found], missing
        self.runs |= {f"{label}: {each.name}": (each, work) for each in found}


def llamas(model: Path | None) -> list[Engine]:
    return [engine for tool in (LLAMA, IK_LLAMA) for engine in engines.llama_engines(tool, model)]


def general_peers(given: argparse.Namespace) -> list[Engine]:
    """Those that any figure may be held against."""
    return llamas(given.peer_model) + engines.openvino_engines(given.openvino)


def short_scene(given: argparse.Namespace, scene: Scene) -> None:
    """int4: prefill of 512 and decoding after it, on every tier, beside all peers."""
    size = (SHORT, DECODED)
    tiers = [tier for tier in core().isa_tiers() if tier != "scalar"] or ["scalar"]
    for tier in dict.fromkeys((*tiers, "amx", "avx512", "avx2")):
        found = [engines.own_engine(given.model, tier)] if tier in tiers else []
        scene.add(tier, found, SHORT, size, f"this CPU has no {tier}")
    scene.add("own", [engines.own_engine(given.model, tiers[-1])], SHORT, size)
    scene.add("peers", general_peers(given), SHORT, size)
    scene.add("llama.cpp", engines.llama_engines(LLAMA, given.peer_model), SHORT, size)
    for tier in ("avx512", "avx2"):
        tool = engines.best_llama_tool(tier, "amx" in tiers)
        missing = tool.absent() if tool.find() is None else "no Q4_0 file was given"
        found = engines.llama_engines(tool, given.peer_model) if tier in tiers else []
        scene.add(f"for {tier}", found, SHORT, size, missing)


def int8_scene(given: argparse.Namespace, scene: Scene) -> None:
    """int8: decoding after 512 tokens."""
    label, size = f"{SHORT}, int8", (SHORT, DECODED)
    own = [] if given.int8 is None else [engines.own_engine(given.int8)]
    scene.add("own", own, label, size, "no int8 file was given")
    scene.add("peers", llamas(given.peer_int8) if own else [], label, size)


def large_scene(given: argparse.Namespace, scene: Scene) -> None:
    """4B's shape, int4: decoding after a short prompt."""
    own = [] if given.large is None else [engines.own_engine(given.large)]
    scene.add("own", own, "4B", (16, 24), "no file of 4B's shape was given")


def long_scene(given: argparse.Namespace, scene: Scene) -> None:
    """4,096 tokens: prefill, decoding after them, peak memory; beside them ours at 512."""
    own, peers, size = [engines.own_engine(given.model)], general_peers(given), (LONG, DECODED_LATE)
    scene.add("short", own, f"{SHORT}, one token", (SHORT, 1))
    scene.add("own", own, LONG, size)
    scene.add("peers", peers, LONG, size)
    scene.add("llama.cpp", [e for e in peers if e.name.startswith(LLAMA.peer)], LONG, size, LLAMA.absent())


def batch_scene(given: argparse.Namespace, scene: Scene) -> None:
    """Eight sequences at once against one. llama.cpp's own factors are claims without a target."""
    for sequences, group in ((1, "one"), (BATCH, "own")):
        label, size = f"{sequences} at once", (BATCH_PROMPT, DECODED_LATE, sequences)
        scene.add(group, [engines.own_engine(given.model)], label, size)
        for peer in llamas(given.peer_model):
            scene.add(f"{group} {peer.name}", [peer], label, size)


Fill = Callable[[argparse.Namespace, Scene], None]


def judge(target: Target, groups: Mapping[str, Sequence[engines.Samples]], missing: Mapping[str, str]) -> Claim:
    """The claim of a target by the samples of each group."""
    for group in (target.own, target.rivals):
        if group and not groups[group]:
            return Claim(target.row, target.target, None, reason=missing[group])
    unit = UNITS.get(target.what, "tok/s")
    mine = groups[target.own][0].measured(target.what, unit)
    if not target.rivals:
        return Claim(target.row, target.target, mine, target.bound)
    best = min if target.at_most else max
    other = best((each.measured(target.what, unit) for each in groups[target.rivals]), key=lambda each: each.median)
    ratio = replace(mine.ratio_to(other), unit=target.unit)
    note = f"{mine.beside(other)}; best: {other.name}" if other.name != mine.name else mine.beside(other)
    return Claim(target.row, target.target, ratio, target.bound, target.at_most, note)


def engine_scene(fill: Fill, targets: Sequence[Target], given: argparse.Namespace, report: Report) -> Iterator[Claim]:
    """Takes the samples, which become details of the report."""
    scene = Scene(given.threads)
    fill(given, scene)
    taken = engines.take_turns(scene.runs, given.rounds)
    for run, samples in taken.items():
        report.details.append({"scene": run.partition(":")[0], **samples.cells()})
    groups = {group: [taken[run] for run in runs] for group, runs in scene.groups.items()}
    yield from (judge(target, groups, scene.missing) for target in targets)
    for peer in (group.removeprefix("own ") for group in groups if group.startswith("own ")):
        alone = {"own": f"own {peer}", "rivals": f"one {peer}"}  # beside itself with one sequence
        yield judge(replace(targets[0], target=f"({peer}; no target)", bound=None, **alone), groups, {})


def gemm_scene(given: argparse.Namespace, _: Report) -> Iterator[Claim]:
    """The default int4 format on 4B's shapes: all matrices of a layer together, as share of the int8 peak."""
    isa, weights, threads = core().selected_isa(), RECIPES["int4"].rules[-1].format, given.threads
    shapes = [shape for name, shape in matrices("4B").items() if name != "head"]
    time = core().kernels.time_matmul
    for tokens in (SHORT, 32):

        def layer(tokens: int = tokens) -> float:
            return sum(time(isa, weights, *shape, tokens, threads, GEMM_SECONDS, GEMM_BYTES) for shape in shapes)

        peak = core().int8_peak(isa, threads, GEMM_SECONDS)
        measured = interleave({"layer": layer}, given.rounds)["layer"]
        operations = sum(2 * rows * columns * tokens for rows, columns in shapes)
        share = Measured("", "of the int8 peak", tuple(operations / seconds / peak for seconds in measured.samples))
        note = f"{operations / measured.median / 1e12:.2f} of {peak / 1e12:.2f} TOPS, {isa}, {weights}"
        yield Claim(f"GEMM alone, 4B shapes, {tokens} tokens", "share of the int8 peak", share, reason=note)


def start_scene(given: argparse.Namespace, report: Report) -> Iterator[Claim]:
    """Process start to first token has a bench of its own; its rows stand among the details."""
    words = ["--model", given.model, "--rounds", str(given.rounds), "--json", "--busy-anyway"]  # we waited
    words += [] if given.peer_model is None else ["--peer-model", given.peer_model]
    result = json_of(run_bench("models.start", *words), "bench.models.start")
    report.details += [{"scene": "start", **row} for row in result["rows"]]
    yield Claim("second start to first token", "-", None, reason="in the details")


SCENES: dict[str, Callable[[argparse.Namespace, Report], Iterator[Claim]]] = {
    "short": functools.partial(engine_scene, short_scene, TARGETS["short"]),
    "int8": functools.partial(engine_scene, int8_scene, TARGETS["int8"]),
    "large": functools.partial(engine_scene, large_scene, TARGETS["large"]),
    "gemm": gemm_scene,
    "long": functools.partial(engine_scene, long_scene, TARGETS["long"]),
    "batch": functools.partial(engine_scene, batch_scene, TARGETS["batch"]),
    "start": start_scene,
}


def claims(name: str, given: argparse.Namespace, report: Report) -> list[Claim]:
    """Of one scene; one that fails is a line of the table."""
    try:
        return list(SCENES[name](given, report))
    except BenchError as error:
        return [Claim(name, "-", None, reason=f"failed: {error}")]


def absent_peers(given: argparse.Namespace) -> list[str]:
    """A line for each program and each file that is not here."""
    missing = [tool.absent() for tool in (LLAMA, LLAMA_AVX2, IK_LLAMA, OPENVINO) if tool.find() is None]
    files = {"peer-model (Q4_0)": given.peer_model, "peer-int8 (Q8_0)": given.peer_int8, "openvino": given.openvino}
    return missing + [f"--{option} was not given" for option, path in files.items() if path is None]


def bench(given: argparse.Namespace) -> Report:
    """All targets, each with what was measured and a verdict."""
    given.threads, scenes = usable_threads(given.threads), given.scene or SCENES
    timed = {"int8": given.int8, "large": given.large}  # all other scenes time the int4 file
    own = [given.model, *(path for name, path in timed.items() if path is not None and name in scenes)]
    report = checked_report(f"Targets, {given.threads} threads", own, given.threads)
    for scene in scenes:
        for claim in claims(scene, given, report):
            report.add("logits", **claim.cells())
    spans = f"medians of {given.rounds} interleaved rounds (smallest to largest), each sample a process of its own"
    report.notes += [spans, *absent_peers(given)]
    return report


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=existing, required=True, help="a .q3e file, int4")
    options.add_argument("--int8", type=existing, help="a .q3e file of the same model")
    options.add_argument("--large", type=existing, help="a .q3e file of 4B's shape, int4")
    options.add_argument("--peer-model", type=existing, help="a .gguf file, Q4_0")
    options.add_argument("--peer-int8", type=existing, help="a .gguf file, Q8_0")
    options.add_argument("--openvino", type=existing, help="a folder that optimum-cli exported (int4)")
    options.add_argument("--threads", type=positive, default=2)
    options.add_argument("--rounds", type=positive, default=3)
    options.add_argument("--scene", action="append", choices=list(SCENES), help="default: all; may be repeated")
    return options


if __name__ == "__main__":
    sys.exit(main(bench, parser()))
