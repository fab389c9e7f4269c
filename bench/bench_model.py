"""Whole models: prefill and decode of qwen3edge beside its peers, interleaved A, B, A, B; or the table of all targets.

python bench/bench_model.py --model X.q3e --peer-model X.gguf --prompt 512 --generate 64 --threads 2 --rounds 5
python bench/bench_model.py --table --model INT4.q3e --int8 INT8.q3e --large 4B-INT4.q3e --peer-model Q4_0.gguf \\
    --peer-int8 Q8_0.gguf --openvino FOLDER --rounds 3 [--scene short --scene long] [--markdown]

Every sample is a process of its own. Decoding starts after the prompt for every engine. Shares are of the read
bandwidth that the same process measured, ratios those of the medians beside them. A decoded token needs all weights
once (not an embedding that is no head) and the cache of its context. bench/peers.py says how peers are found. --memory
is our budget, which peak_MB shows to hold, and the limit of the control group that each peer runs in, which counts the
pages of its file as well.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from engines import Work, llama_engines, openvino_engines, own_engine, take_turns
from harness import BenchError, Report, core, describe_machine, main, measure_limits, positive, turn, usable_threads
from peers import IK_LLAMA, LLAMA, LLAMA_AVX2, LLAMA_AVX512
from quota import memory_limit
from targets import SCENES, Files, Setting, absent_peers, run_scenes

from qwen3edge.checks import byte_size

CHECK_TOKENS = 8  # a prefill and a decoded token use different kernels; few, as the scalar tier computes them too
LLAMA_TOOLS = (LLAMA, LLAMA_AVX512, LLAMA_AVX2, IK_LLAMA)


def check_tiers(model: Path, threads: int) -> None:
    """Logits of every tier that may be timed equal the scalar tier's, bit for bit."""
    native = core()
    file = native.ModelFile(str(model))
    tokens = np.random.default_rng(0).integers(0, file.get("qwen3edge.vocab_size"), CHECK_TOKENS).astype(np.int32)
    positions, slots = np.arange(CHECK_TOKENS, dtype=np.int32), np.zeros(CHECK_TOKENS, dtype=np.int32)

    def logits(isa: str) -> Any:
        engine = native.Engine(file, context=256, threads=threads, isa=isa)
        split = CHECK_TOKENS - 1  # a prefill, then one decoded token
        want = np.ones(CHECK_TOKENS, dtype=np.bool_)
        parts = [slice(0, split), slice(split, None)]
        return np.concatenate([engine.forward(tokens[p], positions[p], slots[p], want[p]) for p in parts])

    expected = logits("scalar")
    for isa in native.isa_tiers():
        got = expected if isa == "scalar" else logits(isa)
        if not np.isfinite(got).all() or not np.array_equal(got, expected):
            wrong = np.count_nonzero(got != expected)
            raise BenchError(f"{isa}: {wrong} of {got.size} logits differ from the scalar tier's")


def check_in_child(model: Path, threads: int) -> str | None:
    """None, or what was wrong. In a child: this process stays small, for a child's peak is never below its parent's."""
    command = [
        sys.executable,
        __file__,
        "--model",
        str(model),
        "--threads",
        str(threads),
        "--check-only",
        "--busy-anyway",
    ]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if child.returncode == 0 else (child.stderr.strip().splitlines() or ["the check died"])[-1]


def checked_report(title: str, models: list[Path], threads: int) -> Report:
    """The machine's limits, and every model's logits compared."""
    with turn():
        limits = measure_limits(threads=threads, isas=[core().selected_isa()])
    report = Report(title, describe_machine(), limits)
    for model in models:
        with turn():
            wrong = check_in_child(model, threads)
        report.accept("logits", wrong is None, f"{model.name}: {wrong}")
    return report


def compare(arguments: argparse.Namespace) -> Report:
    """One kind of work by all that are here."""
    work = Work(arguments.prompt, arguments.generate, arguments.threads, arguments.sequences)
    title = f"{work.prompt} tokens of prefill, {work.generate} decoded after them, {work.threads} threads"
    if work.sequences > 1:
        title += f", {work.sequences} sequences at once"
    if arguments.memory:
        if work.sequences > 1 or arguments.openvino:
            raise BenchError("--memory: expected one sequence and llama.cpp or ik_llama.cpp beside ours")
        title += f", {arguments.memory} of memory"
    report = checked_report(title, [arguments.model], work.threads)
    with contextlib.ExitStack() as held:
        prefix: tuple[str, ...] = ()
        if arguments.memory:
            words = held.enter_context(memory_limit(byte_size("memory", arguments.memory)))
            if words is None:
                raise BenchError("--memory: this process may not make a cgroup of limited memory")
            prefix = words
        own = own_engine(arguments.model, kv=arguments.kv, memory=arguments.memory)
        engines = [own]
        for tool, model in itertools.product(LLAMA_TOOLS, arguments.peer_model):
            engines += llama_engines(tool, model, prefix)
        if work.sequences == 1:
            engines += openvino_engines(arguments.openvino)
        taken = take_turns({engine.name: (engine, work) for engine in engines}, arguments.rounds)

    ours = taken[own.name]
    for samples in taken.values():
        is_own = samples is ours
        rates = {what: samples.measured(what, "tok/s") for what in ("prefill", "decode")}
        load = [sample.load_seconds for sample in samples.taken if sample.load_seconds is not None]
        report.add(
            "logits",
            engine=samples.name,
            file_MB=samples.file_bytes / 1e6,
            prefill=rates["prefill"].text(),
            prefill_ours=None if is_own else ours.measured("prefill", "").ratio_to(rates["prefill"]).text(),
            decode=rates["decode"].text(),
            decode_ours=None if is_own else ours.measured("decode", "").ratio_to(rates["decode"]).text(),
            of_read=samples.measured("bandwidth_share", "").text() if is_own and work.sequences == 1 else None,
            peak_MB=samples.peak_megabytes.median,
            load_ms=min(load) * 1e3 if load else None,
        )
    report.notes += [
        f"medians of {arguments.rounds} interleaved rounds (smallest to largest); prefill and decode in tokens/s; "
        "prefill_ours and decode_ours: our median over theirs (by round: smallest to largest); of_read: share of the "
        "read bandwidth",
        *(tool.absent() for tool in LLAMA_TOOLS if tool.find() is None),
    ]
    return report


def table(arguments: argparse.Namespace) -> Report:
    """All targets, each with what was measured and a verdict."""
    peer_model = arguments.peer_model[0] if arguments.peer_model else None
    files = Files(arguments.model, arguments.int8, arguments.large, peer_model, arguments.peer_int8, arguments.openvino)
    scenes = arguments.scene or list(SCENES)
    timed = {"int8": files.int8, "large": files.large}  # all other scenes time the int4 file
    own = [files.int4, *(path for name, path in timed.items() if path is not None and name in scenes)]
    report = checked_report(f"Targets, {arguments.threads} threads", own, arguments.threads)
    outcome = run_scenes(scenes, Setting(files, arguments.threads, arguments.rounds))
    for claim in outcome.claims:
        report.add("logits", **claim.cells())
    report.details = outcome.details
    rounds = f"medians of {arguments.rounds} interleaved rounds (smallest to largest), each sample a process of its own"
    report.notes += [rounds, *absent_peers(files)]
    return report


def bench(arguments: argparse.Namespace) -> Report:
    arguments.threads = usable_threads(
        arguments.threads
    )  # also of peers, which would let more threads than cores take turns
    if arguments.check_only:
        check_tiers(arguments.model, arguments.threads)
        return Report("checked")
    given = (arguments.model, arguments.int8, arguments.large, arguments.peer_int8, *arguments.peer_model)
    for path in given:
        if path is not None and not path.is_file():
            raise BenchError(f"{path} is no file")
    if arguments.openvino is not None and not arguments.openvino.is_dir():
        raise BenchError(f"{arguments.openvino} is no folder")
    return table(arguments) if arguments.table else compare(arguments)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=Path, required=True, help="a .q3e file (int4 for the table)")
    options.add_argument("--peer-model", type=Path, action="append", default=[], help="a .gguf file; may be repeated")
    options.add_argument("--openvino", type=Path, help="a folder that optimum-cli exported (int4)")
    options.add_argument("--threads", type=positive, default=2)
    options.add_argument("--rounds", type=positive, default=5)
    one = options.add_argument_group("one kind of work")
    one.add_argument("--prompt", type=positive, default=512, help="tokens prefilled")
    one.add_argument("--generate", type=positive, default=64, help="tokens decoded")
    one.add_argument("--memory", help="such as 3GiB: our budget, and the limit of the control group that peers run in")
    one.add_argument("--sequences", type=positive, default=1, help="that decode together")
    one.add_argument("--kv", default="int8", choices=["int8", "int4", "bf16", "f32"], help="our KV cache")
    many = options.add_argument_group("the table of targets")
    many.add_argument("--table", action="store_true")
    many.add_argument("--scene", action="append", choices=list(SCENES), help="default: all; may be repeated")
    many.add_argument("--int8", type=Path, help="a .q3e file of the same model")
    many.add_argument("--large", type=Path, help="a .q3e file of 4B's shape, int4")
    many.add_argument("--peer-int8", type=Path, help="a .gguf file, Q8_0")
    options.add_argument("--check-only", action="store_true", help=argparse.SUPPRESS)
    return options


if __name__ == "__main__":
    sys.exit(main(bench, parser()))
