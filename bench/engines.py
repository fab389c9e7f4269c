"""Ours and the peers in one form: `engine.take(work)` is one sample, by a process of its own."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import BenchError, Measured, turn
from peers import (
    IK_LLAMA,
    LLAMA,
    LLAMA_AVX2,
    LLAMA_AVX512,
    OPENVINO,
    Finished,
    Tool,
    batched_bench_command,
    own_command,
    parse_batched_bench,
    run,
)

BENCH = Path(__file__).resolve().parent
SHORT_PROMPT = 1024
TURN_SECONDS = 20.0


@dataclass(frozen=True)
class Work:
    prompt: int  # tokens prefilled of each sequence
    generate: int  # tokens decoded of each sequence, after the prompt
    threads: int
    sequences: int = 1


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
        values = [getattr(sample, what) for sample in self.taken]
        if not values or None in values:
            raise BenchError(f"{self.name} has no {what}")
        return Measured(self.name, unit, tuple(values))

    @property
    def peak_megabytes(self) -> Measured:
        """The largest resident set."""
        return Measured(self.name, "MB", tuple(sample.peak_bytes / 1e6 for sample in self.taken))


def take_turns(runs: Mapping[str, tuple[Engine, Work]], rounds: int) -> dict[str, Samples]:
    """A, B, A, B, ...: one sample of each in turn, by the names of the runs."""
    samples = {name: Samples(engine.name, engine.file_bytes) for name, (engine, _) in runs.items()}
    with contextlib.ExitStack() as held:
        until = 0.0
        for number, (name, (engine, work)) in itertools.product(range(rounds), runs.items()):
            if time.monotonic() > until:  # whoever waits for the machine gets it now and then
                held.close()
                held.enter_context(turn())
                until = time.monotonic() + TURN_SECONDS
            samples[name].taken.append(engine.take(work))
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
    return samples


def own_engine(
    model: Path,
    isa: str = "",
    cores: Sequence[int] = (),
    kv: str = "int8",
    prefix: Sequence[str] = (),
    memory: str | None = None,
) -> Engine:
    """isa: another tier than the best; cores: those that the process may use, none for all; prefix: words before the
    command; memory: its budget."""
    name = " ".join(word for word in ("qwen3edge", model.name, isa, f"cores {list(cores)}" if cores else "") if word)
    environment = {"QWEN3EDGE_ISA": isa} if isa else {}
    return Engine(name, model, functools.partial(_own, model, environment, tuple(cores), kv, tuple(prefix), memory))


def _own(
    model: Path,
    environment: dict[str, str],
    cores: tuple[int, ...],
    kv: str,
    prefix: tuple[str, ...],
    memory: str | None,
    work: Work,
) -> Sample:
    """The peak is the process's own word: `qwen3edge bench` takes it before its buffer for the read bandwidth."""
    words = ["--prompt", str(work.prompt), "--generate", str(work.generate), "--threads", str(work.threads)]
    if memory is not None and work.sequences == 1:
        words += ["--memory", memory]
    if work.sequences > 1:
        command: list[str | Path] = [
            *prefix,
            sys.executable,
            BENCH / "own_batch.py",
            model,
            *words,
            "--sequences",
            str(work.sequences),
        ]
        result = json_of(run(command, environment=environment, cores=cores), "own_batch.py")
        return Sample(result["prefill"], result["decode"], result["peak_memory_bytes"])
    # The first run of a process meets every page of the file; peers did that when they loaded. A long prompt hides it.
    repeat = 3 if work.prompt <= SHORT_PROMPT else 1
    words += ["--context", str(work.prompt + work.generate), "--repeat", str(repeat), "--kv", kv, "--json"]
    result = json_of(
        run([*prefix, *own_command("bench", model, *words)], environment=environment, cores=cores), "qwen3edge bench"
    )
    return Sample(
        result["prefill_tokens_per_second"],
        result["decode_tokens_per_second"],
        result["peak_memory_bytes"],
        result["read_bandwidth_share"],
        result["load_seconds"],
    )


def _llama(
    program: Path, model: Path, flash_attention: bool, words: tuple[str, ...], prefix: tuple[str, ...], work: Work
) -> Sample:
    command = batched_bench_command(
        program, model, prompt=work.prompt, generate=work.generate, sequences=work.sequences, threads=work.threads,
        flash_attention=flash_attention,
    )  # fmt: skip
    finished = run([*prefix, *command, *words])
    tests = parse_batched_bench(finished.stdout + finished.stderr)  # ik_llama.cpp writes its table to stderr
    if len(tests) != 1 or (tests[0].prompt, tests[0].generate, tests[0].sequences) != (
        work.prompt,
        work.generate,
        work.sequences,
    ):
        raise BenchError(f"llama-batched-bench was asked for {work}; found {tests}")
    return Sample(tests[0].prefill_tokens_per_second, tests[0].decode_tokens_per_second, finished.peak_bytes)


def _openvino(python: Path, folder: Path, work: Work) -> Sample:
    if work.sequences != 1:
        raise BenchError("OpenVINO GenAI is measured with one sequence only")
    words = ["--prompt", str(work.prompt), "--generate", str(work.generate), "--threads", str(work.threads)]
    finished = run([python, BENCH / "openvino_sample.py", folder, *words])
    result = json_of(finished, "openvino_sample.py")
    return Sample(result["prefill"], result["decode"], finished.peak_bytes)


def json_of(finished: Finished, what: str) -> dict[str, Any]:
    """The one JSON object that a bench's child prints."""
    try:
        result: dict[str, Any] = json.loads(finished.stdout)
    except ValueError as error:
        raise BenchError(f"{what} printed no JSON: {finished.stdout[:80]!r}") from error
    return result


def llama_engines(tool: Tool, model: Path, prefix: Sequence[str] = ()) -> list[Engine]:
    """prefix: words before the command, which limit its memory. With and without flash attention, as neither is the
    better one at every length; none when it is not here.
    """
    program = tool.find()
    if program is None:
        return []
    if tool is IK_LLAMA and not prefix:  # run-time repack and flash attention were the best of its four at every length
        take = functools.partial(_llama, program, model, True, ("-rtr",), ())
        return [Engine(f"{tool.peer} {model.name}, repacked", model, take)]
    words: tuple[str, ...] = ()
    if prefix and tool is not IK_LLAMA:  # its repacked copy would fill the memory, and nothing could be mapped
        words = ("--no-repack",)
    return [
        Engine(
            f"{tool.peer} {model.name}{', flash attention' if flash else ''}",
            model,
            functools.partial(_llama, program, model, flash, words, tuple(prefix)),
        )
        for flash in (False, True)
    ]


def openvino_engines(folder: Path | None) -> list[Engine]:
    """`folder`: a model as optimum-cli exports it. None when either is not here."""
    python = OPENVINO.find()
    if python is None or folder is None:
        return []
    return [Engine(f"{OPENVINO.peer} {folder.name}", folder, functools.partial(_openvino, python, folder))]


def best_llama_tool(tier: str, has_amx: bool) -> Tool:
    """The build of llama.cpp to hold a tier of ours against."""
    if tier == "avx2":
        return LLAMA_AVX2
    return LLAMA_AVX512 if has_amx or LLAMA_AVX512.find() else LLAMA
