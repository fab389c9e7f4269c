"""Prefill and decode of qwen3edge beside its peers, interleaved A, B, A, B.

    python -m bench.models.compare --model X.q3e --peer-model X.gguf --prompt 512 --generate 64 --threads 2 --rounds 5

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
import sys

from bench.harness import Report, existing, main, positive, usable_threads
from bench.models.checks import checked_report
from bench.models.engines import Work, llama_engines, openvino_engines, own_engine, take_turns
from bench.peers import IK_LLAMA, LLAMA, LLAMA_AVX2, LLAMA_AVX512, memory_limit
from bench.quiet import BenchError
from bench.tables import Cell
from qwen3edge.checks import byte_size

LLAMA_TOOLS = (LLAMA, LLAMA_AVX512, LLAMA_AVX2, IK_LLAMA)


def bench(arguments: argparse.Namespace) -> Report:
    """One kind of work by all that are here."""
    work = Work(arguments.prompt, arguments.generate, usable_threads(arguments.threads), arguments.sequences)
    title = f"{work.prompt} tokens of prefill, {work.generate} decoded after them, {work.threads} threads"
    if work.sequences > 1:
        title += f", {work.sequences} sequences at once"
    if arguments.memory:
        if work.sequences > 1 or arguments.openvino:
            raise BenchError("--memory: expected one sequence and llama.cpp or ik_llama.cpp beside ours")
        title += f", {arguments.memory} of memory"
    report = checked_report(title, [arguments.model], work.threads)
    with contextlib.ExitStack() as held:
        limit = memory_limit(byte_size("memory", arguments.memory)) if arguments.memory else contextlib.nullcontext(())
        prefix = held.enter_context(limit)
        own = own_engine(arguments.model, kv=arguments.kv, memory=arguments.memory)
        engines = [own]
        for tool, model in itertools.product(LLAMA_TOOLS, arguments.peer_model):
            engines += llama_engines(tool, model, prefix)
        if work.sequences == 1:
            engines += openvino_engines(arguments.openvino)
        taken = take_turns({engine.name: (engine, work) for engine in engines}, arguments.rounds)

    ours = taken[own.name]
    for samples in taken.values():
        cells: dict[str, Cell] = {**samples.cells(), "file_MB": samples.file_bytes / 1e6}
        if samples is not ours:
            for what in ("prefill", "decode"):
                ratio = ours.measured(what, "").ratio_to(samples.measured(what, ""))
                cells[f"{what}_ours"] = ratio.text()
        elif work.sequences == 1:
            cells["load_ms"] = min(samples.measured("load_seconds", "s").samples) * 1e3
        report.add("logits", **cells)
    report.notes += [
        f"medians of {arguments.rounds} interleaved rounds (smallest to largest); prefill and decode in tokens/s; "
        "prefill_ours and decode_ours: our median over theirs (by round: smallest to largest); of_read: share of the "
        "read bandwidth",
        *(tool.absent() for tool in LLAMA_TOOLS if tool.find() is None),
    ]
    return report


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=existing, required=True, help="a .q3e file")
    options.add_argument(
        "--peer-model", type=existing, action="append", default=[], help="a .gguf file; may be repeated"
    )
    options.add_argument("--openvino", type=existing, help="a folder that optimum-cli exported (int4)")
    options.add_argument("--threads", type=positive, default=2)
    options.add_argument("--rounds", type=positive, default=5)
    options.add_argument("--prompt", type=positive, default=512, help="tokens prefilled")
    options.add_argument("--generate", type=positive, default=64, help="tokens decoded")
    options.add_argument("--memory", help="such as 3GiB: our budget, and the limit of the group that peers run in")
    options.add_argument("--sequences", type=positive, default=1, help="that decode together")
    options.add_argument("--kv", default="int8", choices=["int8", "int4", "bf16", "f32"], help="our KV cache")
    return options


if __name__ == "__main__":
    sys.exit(main(bench, parser()))
