"""Ours and the peers in one form: `engine.take(work)` is one sample, by a process of its own."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import peers
from bench.harness import Measured
from bench.quiet import BenchError
from bench.tables import Cell

CHILD = Path(__file__).with_name("child.py")
SHORT_PROMPT = 1024


@dataclass(frozen=True)
class Work:
    prompt: int  # tokens prefilled of each sequence
    generate: int  # tokens decoded of each sequence, after the prompt
    threads: int
    sequences: int = 1

    def options(self) -> list[str]:
        """For `qwen3edge bench` and child.py."""
        return ["--prompt", str(self.prompt), "--generate", str(self.generate), "--threads", str(self.threads)]


@dataclass(frozen=True)
class Sample:
    prefill: float  # tokens/s
    decode: float  # tokens/s, of all sequences together
    peak_bytes: int  # largest resident set, mapped pages included
    bandwidth_share: float | None = None  # bytes that the decoded tokens need, over what the machine reads meanwhile
    load_seconds: float | None = None


@dataclass(frozen=True)
class Engine:
    name: str
    model: Path
    take: Callable[[Work], Sample]

    @property
    def file_bytes(self) -> int:
        """Of a folder: its largest file, which holds the weights."""
        if self.model.is_dir():
            return max(path.stat().st_size for path in self.model.iterdir())
        return self.model.stat().st_size


@dataclass
class Samples:
    """Of one engine at one work, one a round."""

    name: str
    file_bytes: int
    taken: list[Sample] = field(default_factory=list)

    def measured(self, what: str, unit: str) -> Measured:
        """what: a field of Sample, "peak" (MB) or "file" (MB)."""
        if what == "file":
            return Measured(self.name, unit, (self.file_bytes / 1e6,))
        if what == "peak":
            return Measured(self.name, unit, tuple(sample.peak_bytes / 1e6 for sample in self.taken))
        values = [getattr(sample, what) for sample in self.taken]
        if not values or None in values:
            raise BenchError(f"{self.name} has no {what}")
        return Measured(self.name, unit, tuple(values))

    def cells(self) -> dict[str, Cell]:
        """Of a row: rates in tokens/s, the share of the read bandwidth if it is known, the largest resident set."""
        row: dict[str, Cell] = {"engine": self.name}
        row |= {what: self.measured(what, "").text() for what in ("prefill", "decode")}
        if self.taken[0].bandwidth_share is not None:
            row["of_read"] = self.measured("bandwidth_share", "").text()
        return row | {"peak_MB": self.measured("peak", "").median}


def take_turns(runs: Mapping[str, tuple[Engine, Work]], rounds: int) -> dict[str, Samples]:
    """A, B, A, B, ...: one sample of each in turn, by the names of the runs."""
    samples = {name: Samples(engine.name, engine.file_bytes) for name, (engine, _) in runs.items()}
    for number, (name, (engine, work)) in itertools.product(range(rounds), runs.items()):
        samples[name].taken.append(engine.take(work))
        print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
    return samples


def own_engine(model: Path, isa: str = "", kv: str = "int8", memory: str | None = None) -> Engine:
    """isa: another tier than the best; memory: its budget."""
    name = " ".join(word for word in ("qwen3edge", model.name, isa) if word)
    return Engine(name, model, functools.partial(_own, model, isa, kv, memory))


def _own(model: Path, isa: str, kv: str, memory: str | None, work: Work) -> Sample:
    """The peak is the process's own word: `qwen3edge bench` takes it before its buffer for the read bandwidth."""
    environment = {"QWEN3EDGE_ISA": isa} if isa else {}
    if work.sequences > 1:  # the engine's own: sessions of the public API take turns
        command = [sys.executable, CHILD, "batch", model, *work.options(), "--sequences", str(work.sequences)]
        result = peers.json_of(peers.run(command, environment=environment), CHILD.name)
        return Sample(result["prefill"], result["decode"], result["peak_memory_bytes"])
    # The first run of a process meets every page of the file; peers did that when they loaded. A long prompt hides it.
    repeat = 3 if work.prompt <= SHORT_PROMPT else 1
    words = [*work.options(), "--context", str(work.prompt + work.generate), "--repeat", str(repeat), "--kv", kv]
    words += ["--memory", memory] if memory is not None else []
    finished = peers.run(peers.own_command("bench", model, *words, "--json"), environment=environment)
    result = peers.json_of(finished, "qwen3edge bench")
    return Sample(
        result["prefill_tokens_per_second"],
        result["decode_tokens_per_second"],
        result["peak_memory_bytes"],
        result["read_bandwidth_share"],
        result["load_seconds"],
    )


def _llama(
    program: Path, model: Path, flash_attention: bool, words: Sequence[str], prefix: Sequence[str], work: Work
) -> Sample:
    command = peers.batched_bench_command(
        program, model, prompt=work.prompt, generate=work.generate, sequences=work.sequences, threads=work.threads,
        flash_attention=flash_attention,
    )  # fmt: skip
    finished = peers.run([*prefix, *command, *words])
    tests = peers.parse_batched_bench(finished.stdout + finished.stderr)  # ik_llama.cpp writes its table to stderr
    asked = [(work.prompt, work.generate, work.sequences)]
    if [(test.prompt, test.generate, test.sequences) for test in tests] != asked:
        raise BenchError(f"llama-batched-bench was asked for {work}; found {tests}")
    return Sample(tests[0].prefill_tokens_per_second, tests[0].decode_tokens_per_second, finished.peak_bytes)


def _openvino(python: Path, folder: Path, work: Work) -> Sample:
    command = [python, CHILD, "openvino", folder, *work.options(), "--sequences", str(work.sequences)]
    finished = peers.run(command, environment={"PYTHONPATH": ""})
    result = peers.json_of(finished, CHILD.name)
    return Sample(result["prefill"], result["decode"], finished.peak_bytes)


def llama_engines(tool: peers.Tool, model: Path | None, prefix: Sequence[str] = ()) -> list[Engine]:
    """prefix: words before the command, which limit its memory. With and without flash attention, as neither is the
    better one at every length; none when the tool or the model is not here.
    """
    program = tool.find()
    if program is None or model is None:
        return []
    # Its repacked copy would fill a limited memory, and nothing could be mapped.
    words = ("--no-repack",) if prefix and tool is not peers.IK_LLAMA else ()
    ways = [("", False, words), (", flash attention", True, words)]
    if tool is peers.IK_LLAMA and not prefix:  # this was the best of its four at every length
        ways = [(", repacked", True, ("-rtr",))]
    return [
        Engine(f"{tool.peer} {model.name}{way}", model, functools.partial(_llama, program, model, flash, more, prefix))
        for way, flash, more in ways
    ]


def openvino_engines(folder: Path | None) -> list[Engine]:
    """`folder`: a model as optimum-cli exports it. None when either is not here."""
    python = peers.OPENVINO.find()
    if python is None or folder is None:
        return []
    return [Engine(f"{peers.OPENVINO.peer} {folder.name}", folder, functools.partial(_openvino, python, folder))]


def best_llama_tool(tier: str, has_amx: bool) -> peers.Tool:
    """The build of llama.cpp to hold a tier of ours against."""
    if tier == "avx2":
        return peers.LLAMA_AVX2
    return peers.LLAMA_AVX512 if has_amx or peers.LLAMA_AVX512.find() else peers.LLAMA
