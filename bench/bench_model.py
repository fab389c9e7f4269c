"""Whole models: prefill and decode of qwen3edge beside its peers, interleaved A, B, A, B.

python bench/bench_model.py --model X.q3e --peer-model X.gguf --prompt 512 --generate 64 --threads 2 --rounds 5

Every sample is a process of its own. A round measures the read bandwidth, then our engine, then each peer; shares and
ratios are taken within a round. Decoding starts after `--context` tokens (default: the prompt) for every engine.
Bytes that a decoded token needs: all weights once (not an embedding that is no head) and the cache of its context.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from harness import BenchError, Measured, Report, core, describe_machine, main, measure_limits
from peers import MODEL_BENCHES, own_command, run, run_llama_bench

CHECK_TOKENS = 24  # enough for a chunked prefill and two kinds of matmul, few enough for the scalar tier on 8B


@dataclass(frozen=True)
class Work:
    prompt: int  # tokens
    generate: int
    context: int  # tokens in the cache when decoding starts
    threads: int


@dataclass(frozen=True)
class Sample:
    prefill: float  # tokens/s
    decode: float  # tokens/s
    peak_bytes: int
    load_seconds: float | None = None


@dataclass
class Engine:
    name: str
    model_bytes: int  # weights that one decoded token reads
    kv_bytes: int  # of the cache, per token of context; scales not counted
    file_bytes: int
    take: Callable[[], Sample]
    samples: list[Sample] = field(default_factory=list)

    def measured(self, what: str, unit: str) -> Measured:
        return Measured(self.name, unit, tuple(getattr(sample, what) for sample in self.samples))


def weights_of(model: Path) -> tuple[int, int]:
    """Bytes of weights that a decoded token reads, and bytes of int8 values in the KV cache of one token."""
    file = core().ModelFile(str(model))
    sizes = {tensor["name"]: tensor["nbytes"] for tensor in file.tensors()}
    unread = sizes["token_embd.weight"] if "output.weight" in sizes else 0
    layers, heads = file.get("qwen3edge.block_count"), file.get("qwen3edge.attention.head_count_kv")
    width = file.get("qwen3edge.attention.key_length")
    return sum(sizes.values()) - unread, layers * heads * 2 * width


def check_tiers(model: Path, threads: int) -> None:
    """Logits of the tier that will be timed equal the scalar tier's, bit for bit."""
    native = core()
    file = native.ModelFile(str(model))
    tokens = np.random.default_rng(0).integers(0, file.get("qwen3edge.vocab_size"), CHECK_TOKENS).astype(np.int32)
    positions, slots = np.arange(CHECK_TOKENS, dtype=np.int32), np.zeros(CHECK_TOKENS, dtype=np.int32)

    def logits(isa: str | None) -> Any:
        engine = native.Engine(file, context=256, threads=threads, isa=isa)
        split = CHECK_TOKENS - 1  # a prefill, then one decoded token
        want = np.ones(CHECK_TOKENS, dtype=np.bool_)
        parts = [slice(0, split), slice(split, None)]
        return np.concatenate([engine.forward(tokens[p], positions[p], slots[p], want[p]) for p in parts])

    got, expected = logits(None), logits("scalar")
    if not np.isfinite(got).all() or not np.array_equal(got, expected):
        wrong = np.count_nonzero(got != expected)
        raise BenchError(f"{native.selected_isa()}: {wrong} of {got.size} logits differ from the scalar tier's")


def check_in_child(model: Path, threads: int) -> str | None:
    """None, or what was wrong. In a child: this process stays small, for a child's peak is never below its parent's."""
    command = [sys.executable, __file__, "--model", str(model), "--threads", str(threads), "--check-only"]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if child.returncode == 0 else (child.stderr.strip().splitlines() or ["the check died"])[-1]


def own_sample(model: Path, work: Work) -> Sample:
    """`qwen3edge bench` takes its peak before it measures the read bandwidth: its figure counts, not the child's."""

    def bench(prompt: int) -> dict[str, Any]:
        words = ["--prompt", prompt, "--generate", work.generate, "--context", prompt + work.generate]
        finished = run(own_command("bench", model, *map(str, words), "--threads", str(work.threads), "--json"))
        try:
            result: dict[str, Any] = json.loads(finished.stdout)
        except ValueError as error:
            raise BenchError(f"qwen3edge bench --json printed no JSON: {finished.stdout[:80]!r}") from error
        return result

    first = bench(work.prompt)
    second = first if work.context == work.prompt else bench(work.context)
    return Sample(
        prefill=first["prefill_tokens_per_second"],
        decode=second["decode_tokens_per_second"],
        peak_bytes=max(first["peak_memory_bytes"], second["peak_memory_bytes"]),
        load_seconds=first["load_seconds"],
    )


def llama_sample(program: Path, model: Path, work: Work, flash_attention: bool) -> Sample:
    options: dict[str, Any] = {"threads": work.threads, "flash_attention": flash_attention}
    prefill, first = run_llama_bench(program, model, prompt=work.prompt, generate=0, depth=0, **options)
    decode, second = run_llama_bench(program, model, prompt=0, generate=work.generate, depth=work.context, **options)
    return Sample(prefill.tokens_per_second, decode.tokens_per_second, max(first.peak_bytes, second.peak_bytes))


def engines_of(model: Path, peer_models: Sequence[Path], work: Work) -> tuple[list[Engine], list[str]]:
    """Ours first, then the peers that are here; and the names of those that are not."""
    weights, kv = weights_of(model)
    engines = [Engine(f"qwen3edge {model.name}", weights, kv, model.stat().st_size, lambda: own_sample(model, work))]
    absent = [] if peer_models else ["peers: no --peer-model was given"]
    for tool in MODEL_BENCHES:
        program = tool.find()
        if program is None:
            absent.append(tool.absent())
            continue
        for peer_model, flash in itertools.product(peer_models, (False, True)):
            probe, _ = run_llama_bench(
                program, peer_model, prompt=1, generate=0, depth=0, threads=work.threads, flash_attention=flash
            )
            name = f"{tool.peer} {peer_model.name}{', flash attention' if flash else ''}"
            take = functools.partial(llama_sample, program, peer_model, work, flash)
            # its cache is float16: two bytes where ours has one, and no scales
            engines.append(Engine(name, probe.model_bytes, kv * 2, peer_model.stat().st_size, take))
    return engines, absent


def bandwidth_share(engine: Engine, bandwidth: Sequence[float], context: float) -> Measured:
    """Bytes a token times tokens a second over the bandwidth of the same round."""
    token = engine.model_bytes + engine.kv_bytes * context
    shares = (s.decode * token / rate for s, rate in zip(engine.samples, bandwidth, strict=True))
    return Measured(engine.name, "share", tuple(shares))


def bench(arguments: argparse.Namespace) -> Report:
    if arguments.check_only:
        check_tiers(arguments.model, arguments.threads)
        return Report("checked")
    for path in [arguments.model, *arguments.peer_model]:
        if not path.is_file():
            raise BenchError(f"{path} is no file")
    work = Work(arguments.prompt, arguments.generate, arguments.context or arguments.prompt, arguments.threads)
    title = f"{work.prompt} tokens of prefill, {work.generate} decoded after {work.context}, {work.threads} threads"
    report = Report(title, describe_machine(), measure_limits(threads=work.threads, isas=[core().selected_isa()]))
    wrong = check_in_child(arguments.model, work.threads)
    report.accept("logits", wrong is None, str(wrong))
    engines, absent = engines_of(arguments.model, arguments.peer_model, work)

    bandwidth: list[float] = []
    for number in range(arguments.rounds):
        bandwidth.append(core().read_bandwidth(work.threads, 0.3))
        for engine in engines:
            engine.samples.append(engine.take())
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)

    own_prefill, own_decode = engines[0].measured("prefill", "tok/s"), engines[0].measured("decode", "tok/s")
    for engine in engines:
        prefill, decode = engine.measured("prefill", "tok/s"), engine.measured("decode", "tok/s")
        load = [sample.load_seconds for sample in engine.samples if sample.load_seconds is not None]
        report.add(
            "logits",
            engine=engine.name,
            file_MB=engine.file_bytes / 1e6,
            prefill=prefill.text(),
            prefill_ours=None if engine is engines[0] else own_prefill.ratio_to(prefill).text(),
            decode=decode.text(),
            decode_ours=None if engine is engines[0] else own_decode.ratio_to(decode).text(),
            bandwidth=bandwidth_share(engine, bandwidth, work.context + work.generate / 2).text(),
            peak_MB=engine.measured("peak_bytes", "bytes").median / 1e6,
            load_ms=min(load) * 1e3 if load else None,
        )
    read = Measured("read", "GB/s", tuple(rate / 1e9 for rate in bandwidth))
    report.notes += [
        f"medians of {arguments.rounds} interleaved rounds (smallest to largest); prefill and decode in tokens/s; "
        "prefill_ours and decode_ours: ours over theirs, round by round",
        f"bandwidth: share of the {read.text()} GB/s read with {work.threads} threads in the same rounds",
        *absent,
    ]
    return report


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=Path, required=True, help="a .q3e file")
    options.add_argument("--peer-model", type=Path, action="append", default=[], help="a .gguf file; may be repeated")
    options.add_argument("--prompt", type=int, default=512, help="tokens prefilled")
    options.add_argument("--generate", type=int, default=64, help="tokens decoded")
    options.add_argument(
        "--context", type=int, default=0, help="tokens in the cache before decoding (default: the prompt)"
    )
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--check-only", action="store_true", help=argparse.SUPPRESS)
    sys.exit(main(bench, options))
