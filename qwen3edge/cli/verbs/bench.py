"""`qwen3edge bench MODEL`: tokens per second, beside what the machine's memory allows."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qwen3edge.cli import arguments as options
from qwen3edge.cli.output import print_result
from qwen3edge.cli.status import StatusLine
from qwen3edge.errors import RequestError
from qwen3edge.runtime.plan import format_bytes

if TYPE_CHECKING:
    from qwen3edge.generation.model import Model
    from qwen3edge.generation.sequence import OwnSequence
    from qwen3edge.settings import Settings

HELP = "measure prefill and decode"
_TURN_SECONDS = 0.05  # of decoding, then of reading memory
_TURNS = 20
_ABOVE_NOISE = 1.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model, how much to measure, how to load it."""
    options.add_model(parser)
    parser.add_argument("--prompt", type=int, default=512, metavar="N", help="tokens to prefill (512)")
    parser.add_argument("--generate", type=int, default=64, metavar="N", help="tokens to decode (64)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="the median of so many runs counts (3)")
    options.add_sequences(parser, "answers that decode together, beside the bare core with as many rows")
    parser.add_argument(
        "--shared-prefix",
        type=int,
        default=0,
        metavar="N",
        help="tokens that these prompts have in common",
    )
    parser.add_argument("--temperature", type=float, metavar="X", help="of --sequences (0)")
    parser.add_argument("--top-k", type=int, metavar="N", help="of --sequences, beside --temperature")
    options.add_loading(parser)
    options.add_device(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prefills random tokens, decodes greedily, then does so in turns with reading memory; or many answers at once."""
    for name in ("prompt", "generate", "repeat"):
        if getattr(arguments, name) < 1:
            raise RequestError(f"expected --{name} of at least 1, found {getattr(arguments, name)}")
    line = StatusLine()
    try:
        if arguments.sequences == 1:
            result, shown = _one(arguments, line.show)
        else:
            result, shown = _many(arguments, line.show)
    finally:
        line.erase()
    print_result(result, shown, as_json=arguments.json)
    return 0


def _one(arguments: argparse.Namespace, say: Callable[[str], None]) -> tuple[dict[str, Any], str]:
    for flag, value in (
        ("--shared-prefix", arguments.shared_prefix or None),
        ("--temperature", arguments.temperature),
        ("--top-k", arguments.top_k),
    ):
        if value is not None:
            raise RequestError(f"{flag}: expected --sequences of at least 2 beside it")
    path, settings = options.model_path(arguments.model), options.loading(arguments)
    result = measure(path, arguments.prompt, arguments.generate, arguments.repeat, settings, say)
    return result, _table(result)


def _many(arguments: argparse.Namespace, say: Callable[[str], None]) -> tuple[dict[str, Any], str]:
    from qwen3edge.cli import throughput

    sampling = {"temperature": arguments.temperature or 0.0}
    if arguments.top_k is not None:
        sampling["top_k"] = arguments.top_k
    work = throughput.Work(arguments.sequences, arguments.prompt, arguments.generate, arguments.shared_prefix, sampling)
    result = throughput.measure(
        options.model_path(arguments.model), work, arguments.repeat, options.loading(arguments), say
    )
    return result, throughput.table(result)


def measure(
    path: str,
    prompt: int,
    generate: int,
    repeat: int,
    loading: Settings,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """The figures of one model; rates are medians over the repeats. say: told what begins, never while it is timed."""
    import numpy as np

    from qwen3edge import _core
    from qwen3edge.generation.model import load
    from qwen3edge.generation.sequence import OwnSequence

    random = np.random.default_rng(0)  # imports 5 MB, and the plan counts what is there when it is made
    settings: Settings = {**loading, "texts": False}
    started = time.perf_counter()
    model = load(path, **settings)
    load_seconds = time.perf_counter() - started
    with model:
        if prompt + generate > model.plan.context:
            raise RequestError(
                f"expected --prompt and --generate to fit a context of {model.plan.context}, "
                f"found {prompt} + {generate}"
            )
        tokens = random.integers(0, model.config.vocab_size, prompt).tolist()
        prefill, decode = [], []
        sequence = OwnSequence(model.engine)
        for run in range(1, repeat + 1):
            sequence.reset()
            say(f"{prompt} tokens of a prompt: {run} of {repeat}")
            started = time.perf_counter()
            *_, rows = sequence.prefill(tokens)
            prefill.append(time.perf_counter() - started)
            token = first = int(rows[0].argmax())
            say(f"{generate} tokens of an answer: {run} of {repeat}")
            started = time.perf_counter()
            for _ in range(generate):
                token = int(sequence.advance(token).argmax())
            decode.append(time.perf_counter() - started)
        peak, metrics = _core.peak_resident_bytes(), model.engine.metrics
        read = _bytes_per_token(path, model, prompt + generate / 2)
        say(f"decoding in {_TURNS} turns with reading memory")
        turns = _turns(sequence, [*tokens, first], generate, model.plan.threads)
        sequence.close()
        drafts = _drafts(model, tokens, generate, repeat, say) if model.plan.draft_tokens else {}
        decode_rate = generate / statistics.median(decode)
        return {
            "prefill_tokens_per_second": prompt / statistics.median(prefill),
            "decode_tokens_per_second": decode_rate,
            **drafts,
            "load_seconds": load_seconds,
            "peak_memory_bytes": peak,
            "planned_peak_bytes": model.plan.peak,
            "budget_bytes": model.plan.budget,
            "streamed_bytes_per_token": model.plan.streamed,
            **metrics,
            "min_expert_share": model.plan.min_expert_share,
            "bytes_per_token": round(read),
            "read_bandwidth_bytes_per_second": statistics.median(bandwidth for _, bandwidth in turns),
            "read_bandwidth_share": statistics.median(rate * read / bandwidth for rate, bandwidth in turns),
            "prompt": prompt,
            "generate": generate,
            "threads": model.plan.threads,
            "kv": model.plan.kv,
            "isa": _core.selected_isa(),
        }


def _drafts(
    model: Model, prompt: list[int], generate: int, repeat: int, say: Callable[[str], None]
) -> dict[str, float | int]:
    """Decoding of the same tokens with drafts."""
    rates = []
    for run in range(1, repeat + 1):
        say(f"{generate} tokens with drafts: {run} of {repeat}")
        answer = model.generate(prompt, max_tokens=generate + 1, temperature=0, ignore_eos=True)
        answer.read()
        rates.append(answer.usage.decode_tokens_per_second)
    counts = model.engine.scheduler.counts
    return {
        "drafting_tokens_per_second": statistics.median(rates),
        "draft_tokens": counts["drafted"],
        "accepted_draft_tokens": counts["accepted_drafts"],
    }


def _turns(sequence: OwnSequence, start: list[int], generate: int, threads: int) -> list[tuple[float, float]]:
    """Tokens per second, and the bytes per second that the machine reads right after: memory that is shared with
    others changes its speed from second to second. Decodes the `generate` tokens after `start` over and over, so that
    the context stays what it was."""
    from qwen3edge import _core

    probe, turns = _core.ReadProbe(threads), []
    probe.measure(_TURN_SECONDS)
    left, token = 0, 0
    for _ in range(_TURNS):
        taken, started = 0, time.perf_counter()
        while taken == 0 or time.perf_counter() - started < _TURN_SECONDS:
            if left == 0:
                sequence.reuse(start)
                left, token = generate, start[-1]
            token = int(sequence.advance(token).argmax())
            left -= 1
            taken += 1
        rate = taken / (time.perf_counter() - started)
        turns.append((rate, probe.measure(_TURN_SECONDS)))
    return turns


def _bytes_per_token(path: str, model: Model, length: float) -> float:
    """What decoding a token reads: all weights, but an untied embedding, and `length` tokens of the KV cache.

    Of experts those that a token takes.
    """
    from qwen3edge import _core

    tensors = {tensor["name"]: tensor for tensor in _core.ModelFile(path).tensors()}
    weights = sum(tensor["nbytes"] for tensor in tensors.values())
    if "output.weight" in tensors:
        weights -= tensors["token_embd.weight"]["nbytes"]
    experts = sum(tensor["nbytes"] for name, tensor in tensors.items() if name.endswith("_exps.weight"))
    if experts:
        weights -= experts - experts * model.config.experts_per_token // model.config.experts
    plan = model.plan
    return weights + length * plan.kv_bytes_per_token


def _drafts_line(result: dict[str, Any]) -> list[str]:
    if "draft_tokens" not in result:
        return []
    drafted, accepted = result["draft_tokens"], result["accepted_draft_tokens"]
    return [f"drafts  {result['drafting_tokens_per_second']:10.1f} tok/s  ({accepted} of {drafted} draft tokens kept)"]


def _table(result: dict[str, Any]) -> str:
    share = result["read_bandwidth_share"]
    in_cache = "; above 100 %: the caches hold the model" if share > _ABOVE_NOISE else ""
    lines = [
        f"prefill {result['prefill_tokens_per_second']:10.1f} tok/s  ({result['prompt']} tokens)",
        f"decode  {result['decode_tokens_per_second']:10.1f} tok/s  ({result['generate']} tokens, {100 * share:.0f} % "
        f"of the {result['read_bandwidth_bytes_per_second'] / 1e9:.1f} GB/s that this machine reads{in_cache})",
        *_drafts_line(result),
        f"load    {result['load_seconds']:10.3f} s",
        f"peak    {format_bytes(result['peak_memory_bytes']):>10}    "
        f"(planned {format_bytes(result['planned_peak_bytes'])}, budget {format_bytes(result['budget_bytes'])})",
    ]
    if result["bytes_read"]:
        asked = result["expert_hits"] + result["expert_misses"]
        hits = f"; {100 * result['expert_hits'] / asked:.0f} % of {asked} experts were in a slot" if asked else ""
        lines.append(
            f"read    {format_bytes(result['bytes_read']):>10}    (streamed weights; waited "
            f"{result['wait_seconds']:.2f} s for them{hits})"
        )
    if result["min_expert_share"]:
        least = f"{100 * result['min_expert_share']:g} %"
        lines.append(f"lossy   {result['experts_left_out']} experts were left out for a share below {least}")
    lines.append(f"{result['threads']} threads, {result['isa']}, KV cache in {result['kv']}")
    return "\n".join(lines)
