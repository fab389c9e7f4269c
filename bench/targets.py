"""The project's targets, one claim a line: what was wanted, what was measured, met or not. `bench_model.py --table`.

A scene is a set of engines that take turns at one kind of work; several claims rest on its samples. Shares are of the
read bandwidth or of the int8 peak that the same process, or the same run, measured. A claim is met by its median.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engines import (
    BENCH,
    Engine,
    Samples,
    Work,
    best_llama_tool,
    json_of,
    llama_engines,
    openvino_engines,
    own_engine,
    take_turns,
)
from harness import BenchError, Cell, Measured, core, interleave, timer, turn
from peers import IK_LLAMA, LLAMA, LLAMA_AVX2, OPENVINO, run
from quota import one_core_quota
from shapes import SIZES

from qwen3edge.convert.recipe import RECIPES

LONG = 4096
SHORT = 512
DECODED = 64
DECODED_LATE = 32  # after LONG tokens
BATCH = 8
BATCH_PROMPT = 64
NO_WORSE = 0.95  # of the other, with what two runs of the same differ by
AMX = "amx"
GEMM_SECONDS = 0.2
GEMM_BYTES = 64 << 20


@dataclass(frozen=True)
class Claim:
    """One line of the table. bound None: measured for the record, nothing is asked of it."""

    row: str
    target: str
    measured: Measured | None  # None: it could not be measured here, see `reason`
    bound: float | None = None
    at_most: bool = False  # the bound is a ceiling
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


@dataclass(frozen=True)
class Files:
    """The models of the table; a scene whose file is absent says so."""

    int4: Path
    int8: Path | None = None
    large: Path | None = None  # int4, 4B's shape
    peer_int4: Path | None = None  # Q4_0
    peer_int8: Path | None = None  # Q8_0
    openvino: Path | None = None  # a folder, int4


@dataclass
class Outcome:
    claims: list[Claim] = field(default_factory=list)
    details: list[dict[str, Cell]] = field(default_factory=list)  # what each engine did

    def record(self, scene: str, samples: Iterable[Samples]) -> None:
        for each in samples:
            row: dict[str, Cell] = {"scene": scene, "engine": each.name}
            row |= {what: each.measured(what, "tok/s").text() for what in ("prefill", "decode")}
            if each.taken[0].bandwidth_share is not None:
                row["of_read"] = each.measured("bandwidth_share", "").text()
            self.details.append(row | {"peak_MB": each.peak_megabytes.median})


@dataclass(frozen=True)
class Setting:
    files: Files
    threads: int
    rounds: int


def best(peers: Sequence[Samples], what: str) -> Samples | None:
    """The peer with the highest median."""
    return max(peers, key=lambda peer: peer.measured(what, "").median, default=None)


def ratio_claim(
    row: str, target: str, bound: float | None, own: Samples, peers: Sequence[Samples], what: str, none: str
) -> Claim:
    """Ours over the best peer's; `none` when there is no peer."""
    peer = best(peers, what)
    if peer is None:
        return Claim(row, target, None, reason=none)
    mine, theirs = own.measured(what, "tok/s"), peer.measured(what, "tok/s")
    return over(row, target, bound, mine, theirs, f"best: {peer.name}")


def over(
    row: str,
    target: str,
    bound: float | None,
    mine: Measured,
    other: Measured,
    note: str = "",
    *,
    unit: str = "x",
    at_most: bool = False,
) -> Claim:
    """mine / other, with both medians in the note."""
    ratio = replace(mine.ratio_to(other), unit=unit)
    reason = mine.beside(other) + (f"; {note}" if note else "")
    return Claim(row, target, ratio, bound, at_most=at_most, reason=reason)


def share_claim(row: str, target: str, bound: float, own: Samples) -> Claim:
    shares = own.measured("bandwidth_share", "of the bandwidth")
    return Claim(row, target, shares, bound)


def general_peers(files: Files) -> list[Engine]:
    """Those that any figure may be held against."""
    found = [] if files.peer_int4 is None else [e for t in (LLAMA, IK_LLAMA) for e in llama_engines(t, files.peer_int4)]
    return found + openvino_engines(files.openvino)


def short_scene(setting: Setting, outcome: Outcome) -> None:
    """int4: prefill of 512 and decoding after it, on every tier, beside all peers."""
    files, work = setting.files, Work(SHORT, DECODED, setting.threads)
    tiers = [tier for tier in core().isa_tiers() if tier != "scalar"]
    fastest = tiers[-1] if tiers else "scalar"
    own = {f"own {tier}": (own_engine(files.int4, tier), work) for tier in tiers or ["scalar"]}
    peers = {engine.name: (engine, work) for engine in general_peers(files)}
    builds = {}
    for tier in ("avx512", "avx2"):
        tool = best_llama_tool(tier, AMX in tiers)
        engines = llama_engines(tool, files.peer_int4) if tier in tiers and files.peer_int4 else []
        builds[tier] = (tool, [engine.name for engine in engines])
        peers |= {engine.name: (engine, work) for engine in engines}
    taken = take_turns({**own, **peers}, setting.rounds)
    outcome.record("512", taken.values())
    everyone = [taken[engine.name] for engine in general_peers(files)]

    mine, row = taken[f"own {fastest}"], "decode int4"
    claims = outcome.claims
    if files.peer_int4 is not None:
        sizes = (Measured("file", "MB", (size / 1e6,)) for size in (mine.file_bytes, files.peer_int4.stat().st_size))
        target = f"file no larger than {files.peer_int4.name}"
        claims.append(over(row, target, 1.0, *sizes, unit="x its bytes", at_most=True))
    claims.append(share_claim(row, ">= 90 % of the read bandwidth", 0.9, mine))
    claims.append(ratio_claim(row, ">= 1.3 x the best peer", 1.3, mine, everyone, "decode", "no peer"))

    row = f"prefill {SHORT}"
    if AMX in tiers:
        claims.append(ratio_claim(row, "AMX: >= 3 x the best peer", 3.0, mine, everyone, "prefill", "no peer"))
    else:
        claims.append(Claim(row, "AMX: >= 3 x the best peer", None, reason="this CPU has no AMX"))
        claims.append(
            ratio_claim(row, f"(the best peer, {fastest}; no target)", None, mine, everyone, "prefill", "no peer")
        )
    for tier, bound in (("avx512", 1.5), ("avx2", 1.2)):
        tool, names = builds[tier]
        target = f"{tier}: >= {bound} x llama.cpp built for it"
        if tier not in tiers:
            claims.append(Claim(row, target, None, reason=f"this CPU has no {tier}"))
        else:
            rivals = [taken[name] for name in names]
            none = tool.absent() if not tool.find() else "no Q4_0 file was given"
            claims.append(ratio_claim(row, target, bound, taken[f"own {tier}"], rivals, "prefill", none))


def int8_scene(setting: Setting, outcome: Outcome) -> None:
    """int8: decoding after 512 tokens."""
    files, row = setting.files, "decode int8"
    target = ">= 90 % of the read bandwidth"
    if files.int8 is None:
        outcome.claims.append(Claim(row, target, None, reason="no int8 file was given"))
        return
    engines = [own_engine(files.int8)]
    if files.peer_int8 is not None:
        engines += [engine for tool in (LLAMA, IK_LLAMA) for engine in llama_engines(tool, files.peer_int8)]
    work = Work(SHORT, DECODED, setting.threads)
    own, *peers = take_turns({engine.name: (engine, work) for engine in engines}, setting.rounds).values()
    outcome.record("512, int8", [own, *peers])
    outcome.claims.append(share_claim(row, target, 0.9, own))
    outcome.claims.append(ratio_claim(row, "(the best peer; no target)", None, own, peers, "decode", "no peer"))


def large_scene(setting: Setting, outcome: Outcome) -> None:
    """4B's shape, int4: decoding after a short prompt."""
    row, target = "decode int4, 4B shape", ">= 93 % of the read bandwidth"
    if setting.files.large is None:
        outcome.claims.append(Claim(row, target, None, reason="no file of 4B's shape was given"))
        return
    engine = own_engine(setting.files.large)
    (own,) = take_turns({"own": (engine, Work(16, 24, setting.threads))}, setting.rounds).values()
    outcome.record("4B", [own])
    outcome.claims.append(share_claim(row, target, 0.93, own))


def long_scene(setting: Setting, outcome: Outcome) -> None:
    """4,096 tokens: prefill, decoding after them, peak memory; beside them ours at 512."""
    files, claims = setting.files, outcome.claims
    own, work = own_engine(files.int4), Work(LONG, DECODED_LATE, setting.threads)
    runs = {"short": (own, Work(SHORT, 1, setting.threads)), "own": (own, work)}
    runs |= {engine.name: (engine, work) for engine in general_peers(files)}
    taken = take_turns(runs, setting.rounds)
    short, mine, *peers = taken.values()
    outcome.record("512, one token", [short])
    outcome.record("4096", [mine, *peers])
    row = f"prefill {LONG}"
    rates = (samples.measured("prefill", "tok/s") for samples in (mine, short))
    claims.append(over(row, ">= 50 % of the rate at 512", 0.5, *rates))
    claims.append(ratio_claim(row, ">= 3 x the best peer", 3.0, mine, peers, "prefill", "no peer"))
    row = f"decode after {LONG}, int8 KV"
    claims.append(share_claim(row, ">= 85 % of the bandwidth, KV counted", 0.85, mine))
    claims.append(ratio_claim(row, ">= 2.3 x the best peer", 2.3, mine, peers, "decode", "no peer"))
    row, target = f"peak memory at {LONG}", "<= 0.55 x llama.cpp"
    llama = [peer for peer in peers if peer.name.startswith(LLAMA.peer)]
    if llama:
        least = min(llama, key=lambda peer: peer.peak_megabytes.median)
        claims.append(over(row, target, 0.55, mine.peak_megabytes, least.peak_megabytes, least.name, at_most=True))
    else:
        claims.append(Claim(row, target, None, reason=LLAMA.absent()))


def batch_scene(setting: Setting, outcome: Outcome) -> None:
    """Eight sequences at once against one; llama.cpp's own factor beside it. Ours is the engine's own, which
    bench/own_batch.py calls: sessions of the public API take turns.
    """
    files, row = setting.files, f"{BATCH} sequences at once, the engine's own"
    engines = [own_engine(files.int4)]
    if files.peer_int4 is not None:
        engines += [engine for tool in (LLAMA, IK_LLAMA) for engine in llama_engines(tool, files.peer_int4)]
    works = [Work(BATCH_PROMPT, DECODED_LATE, setting.threads, sequences) for sequences in (1, BATCH)]
    runs = {f"{engine.name} x {work.sequences}": (engine, work) for engine in engines for work in works}
    taken = take_turns(runs, setting.rounds)
    for work in works:
        name = f"{work.sequences} at once"
        outcome.record(name, [taken[f"{engine.name} x {work.sequences}"] for engine in engines])
    for engine in engines:
        one, many = (taken[f"{engine.name} x {sequences}"].measured("decode", "tok/s") for sequences in (1, BATCH))
        is_own = engine is engines[0]
        target = ">= 6 x the tokens/s of one" if is_own else f"({engine.name}; no target)"
        outcome.claims.append(over(row, target, 6.0 if is_own else None, many, one, unit="x one"))


def threads_scene(setting: Setting, outcome: Outcome) -> None:
    """Held to one core, by affinity and by a quota: two threads against one."""
    if hasattr(os, "sched_getaffinity"):
        engine = own_engine(setting.files.int4, cores=[min(os.sched_getaffinity(0))])
        two_threads_claims("affinity", engine, setting, outcome)
    with one_core_quota() as prefix:
        if prefix is None:
            reason = "this process may not make a cgroup"
            outcome.claims.append(Claim("threads", "quota of one core", None, reason=reason))
        else:
            two_threads_claims("quota", own_engine(setting.files.int4, prefix=prefix), setting, outcome)


def two_threads_claims(how: str, engine: Engine, setting: Setting, outcome: Outcome) -> None:
    works = {f"{how}, {n} threads": Work(SHORT // 4, DECODED_LATE, n) for n in (1, 2)}
    taken = take_turns({name: (engine, work) for name, work in works.items()}, setting.rounds)
    for name, samples in taken.items():
        outcome.record(name, [samples])
    one, two = taken.values()
    for what in ("prefill", "decode"):
        target = f"{how} of one core: 2 threads no worse than one, {what}"
        rates = (samples.measured(what, "tok/s") for samples in (two, one))
        outcome.claims.append(over("threads", target, NO_WORSE, *rates))


def gemm_scene(setting: Setting, outcome: Outcome) -> None:
    """The default int4 format on 4B's shapes: all matrices of a layer together, as share of the int8 peak."""
    isa, count, weights = core().selected_isa(), setting.threads, RECIPES["int4"].rules[-1].format
    shapes = [shape for name, shape in SIZES["4B"].matrices().items() if name != "head"]
    for tokens in (512, 32):

        def layer(tokens: int = tokens) -> float:
            seconds = (
                timer("time_matmul")(isa, weights, *shape, tokens, count, GEMM_SECONDS, GEMM_BYTES) for shape in shapes
            )
            return sum(seconds)

        with turn():
            peak = core().int8_peak(isa, count, GEMM_SECONDS)
            measured = interleave({"layer": layer}, setting.rounds, "s")["layer"]
        operations = sum(2 * rows * columns * tokens for rows, columns in shapes)
        shares = tuple(operations / seconds / peak for seconds in measured.samples)
        note = f"{operations / measured.median / 1e12:.2f} of {peak / 1e12:.2f} TOPS, {isa}, {weights}"
        row = f"GEMM alone, 4B shapes, {tokens} tokens"
        share = Measured("", "of the int8 peak", shares)
        outcome.claims.append(Claim(row, "share of the int8 peak", share, reason=note))


def start_scene(setting: Setting, outcome: Outcome) -> None:
    """Process start to first token has a bench of its own; its rows stand among the details."""
    script = BENCH / "bench_start.py"
    if not script.is_file():
        outcome.claims.append(Claim("second start to first token", "-", None, reason=f"{script.name}: absent"))
        return
    words = ["--model", setting.files.int4, "--rounds", str(setting.rounds), "--json", "--busy-anyway"]  # we waited
    if setting.files.peer_int4 is not None:
        words += ["--peer-model", setting.files.peer_int4]
    with turn():
        result = json_of(run([sys.executable, script, *words]), script.name)
    outcome.details += [{"scene": "start", **row} for row in result["rows"]]
    outcome.claims.append(Claim("second start to first token", "-", None, reason="in the details"))


SCENES: dict[str, Callable[[Setting, Outcome], None]] = {
    "short": short_scene,
    "int8": int8_scene,
    "large": large_scene,
    "gemm": gemm_scene,
    "long": long_scene,
    "batch": batch_scene,
    "start": start_scene,
    "threads": threads_scene,
}


def absent_peers(files: Files) -> list[str]:
    tools = (LLAMA, LLAMA_AVX2, IK_LLAMA, OPENVINO)
    missing = [tool.absent() for tool in tools if tool.find() is None]
    given = {
        "--peer-model (Q4_0)": files.peer_int4,
        "--peer-int8 (Q8_0)": files.peer_int8,
        "--openvino": files.openvino,
    }
    return missing + [f"{option} was not given" for option, path in given.items() if path is None]


def run_scenes(names: Sequence[str], setting: Setting) -> Outcome:
    """A scene that fails is a line of the table, and the others still run."""
    outcome = Outcome()
    for name in names:
        try:
            SCENES[name](setting, outcome)
        except BenchError as error:
            outcome.claims.append(Claim(name, "-", None, reason=f"failed: {error}"))
    return outcome
