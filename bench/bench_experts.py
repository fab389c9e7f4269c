"""Experts above the memory: how many are in a slot when a token chooses them, and how fast the others are read.

    python bench/bench_experts.py --model 30b-a3b.q3e --plot docs/experts.png

Random weights route without locality, so the engine's expert slots replay traces that have the locality measured on
Qwen3-30B-A3B: of the experts that a token chooses, 45 % are chosen again at the next token and 80 % within eight.
Nothing is computed, so that reads are all that takes time; tok_s is what the disk then allows. The slots hold what
tokens before the measured ones left in them. waiting: the share of the time in which reads were waited for, by the
engine's own metrics; of_disk: of the bandwidth of large direct reads of the same file, in turns of a tenth of a second
with the replay. What a layer misses is read at once, and the next layer waits for it: with few misses a layer, the
disk's latency shows. `known` are hit rates reported for LRU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.errors import Qwen3EdgeError

NEXT, WITHIN_EIGHT, WINDOW = 0.45, 0.80, 8
KNOWN = {8: 0.37, 24: 0.74, 49: 0.89, 81: 0.96}
"""LRU hits by experts kept of each layer's 128."""
_POPULARITY = 0.8  # exponent of Zipf's law for the experts that a token does not take over from those before it


@dataclass(frozen=True)
class Row:
    """One budget; kept is of a layer's experts."""

    kept: int
    slots: int
    GB: float
    hits: float
    known: float | None
    misses_layer: float  # a token
    MB_token: float
    tok_s: float
    waiting: float
    of_disk: float


@dataclass
class Chooser:
    """One layer's experts, token by token: taken over from the token before, from the seven before that, or anew."""

    rng: np.random.Generator
    experts: int
    top: int
    again: float
    back: float

    def __post_init__(self) -> None:
        shares = 1 / np.arange(1, self.experts + 1) ** _POPULARITY
        self._shares = self.rng.permutation(shares / shares.sum())
        self._past: list[set[int]] = []

    def next(self) -> list[int]:
        """The experts of the next token, each once."""
        last = self._past[-1] if self._past else set()
        older = set().union(*self._past[-WINDOW:-1]) - last if self._past else set()
        chosen: set[int] = set()
        while len(chosen) < self.top:
            kind = self.rng.random()
            pool = sorted((last if kind < self.again else older if kind < self.again + self.back else set()) - chosen)
            chosen.add(int(self.rng.choice(pool) if pool else self.rng.choice(self.experts, p=self._shares)))
        self._past = [*self._past[-WINDOW:], chosen]
        return sorted(chosen)


def locality(trace: NDArray[np.uint32]) -> tuple[float, float]:
    """Shares of the chosen experts that are chosen again at the next token, and within eight: trace [tokens, top]."""
    sets = [set(map(int, row)) for row in trace]
    inner = range(len(sets) - WINDOW)
    following = [len(sets[t] & sets[t + 1]) for t in inner]
    within = [len(sets[t] & set().union(*sets[t + 1 : t + 1 + WINDOW])) for t in inner]
    return statistics.mean(following) / trace.shape[1], statistics.mean(within) / trace.shape[1]


def calibrated(experts: int, top: int, seed: int) -> tuple[float, float]:
    """The chances of Chooser with which traces have the measured locality."""
    again, back = 0.3, 0.3
    for _ in range(14):
        chooser = Chooser(np.random.default_rng(seed), experts, top, again, back)
        found = locality(np.array([chooser.next() for _ in range(500)], np.uint32))
        again = float(np.clip(again + NEXT - found[0], 0, 1))
        back = float(np.clip(back + 0.7 * (WITHIN_EIGHT - found[1]), 0, 1 - again))
    return again, back


def make_trace(layers: int, experts: int, top: int, tokens: int, seed: int) -> NDArray[np.uint32]:
    """uint32 [tokens, layers, top]."""
    again, back = calibrated(experts, top, seed)
    choosers = [Chooser(np.random.default_rng([seed, n]), experts, top, again, back) for n in range(layers)]
    return np.array([[chooser.next() for chooser in choosers] for _ in range(tokens)], np.uint32)


def measure(file: _core.ModelFile, kept: list[int], tokens: int, warm: int, seconds: float, seed: int) -> list[Row]:
    """One row for each number of experts kept of a layer."""
    layers, experts = int(file.get("qwen3edge.block_count")), int(file.get("qwen3edge.expert_count"))  # type: ignore[arg-type]
    top = int(file.get("qwen3edge.expert_used_count"))  # type: ignore[arg-type]
    trace = make_trace(layers, experts, top, warm + tokens, seed)
    expert_bytes = _core.plan(file, context=1, threads=1)["expert_bytes"]
    rows = []
    for each in kept:
        slots = max(each * layers, 2 * top)
        result = _core.kernels.replay_experts(file, slots, trace, warm, seconds)
        counted = result["tokens"]
        rows.append(
            Row(
                kept=each,
                slots=slots,
                GB=slots * expert_bytes / 1e9,
                hits=result["hits"] / (result["hits"] + result["misses"]),
                known=KNOWN.get(each) if (experts, top) == (128, 8) else None,
                misses_layer=result["misses"] / counted / layers,
                MB_token=result["bytes_read"] / counted / 1e6,
                tok_s=counted / result["seconds"],
                waiting=result["wait_seconds"] / result["seconds"],
                of_disk=result["bytes_read"] / result["seconds"] / result["disk"],
            )
        )
    return rows


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| experts kept of a layer | GB | hits | known LRU | misses a layer | MB read a token | tok/s | waiting "]
    lines[0] += "| of the disk |"
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        known = "" if row.known is None else f"{100 * row.known:.0f} %"
        lines.append(
            f"| {row.kept} | {row.GB:.1f} | {100 * row.hits:.0f} % | {known} | {row.misses_layer:.1f} "
            f"| {row.MB_token:.0f} | {row.tok_s:.1f} | {100 * row.waiting:.0f} % | {100 * row.of_disk:.0f} % |"
        )
    return "\n".join(lines)


def draw(rows: list[Row], target: Path) -> None:
    """Hit rates by memory, beside the known ones."""
    import matplotlib  # noqa: PLC0415

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.plot([r.kept for r in rows], [100 * r.hits for r in rows], marker="o", label="expert slots, replayed")
    known = [(r.kept, 100 * r.known) for r in rows if r.known is not None]
    if known:
        axes.plot(*zip(*known, strict=True), marker="s", linestyle="--", label="LRU as reported")
    axes.set(xlabel="experts kept of a layer", ylabel="hits, %", ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(target, dpi=120, metadata={"Software": None})
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a .q3e file of a mixture of experts")
    parser.add_argument("--kept", type=int, nargs="+", default=list(KNOWN), help="experts of a layer (8 24 49 81)")
    parser.add_argument("--tokens", type=int, default=500, help="decoded and measured at most (500)")
    parser.add_argument("--warm", type=int, default=300, help="decoded before (300)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of replay a row, and of the disk beside it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        rows = measure(
            _core.ModelFile(arguments.model), arguments.kept, arguments.tokens, arguments.warm, arguments.seconds,
            arguments.seed,
        )  # fmt: skip
    except (Qwen3EdgeError, OSError, KeyError) as error:
        print(f"bench_experts: {error}", file=sys.stderr)
        return 1
    print(json.dumps([asdict(row) for row in rows]) if arguments.json else table(rows))
    if arguments.plot:
        draw(rows, arguments.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
