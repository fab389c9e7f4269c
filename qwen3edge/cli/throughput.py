"""Answers that are computed together, beside the bare core with as many rows a step."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from qwen3edge import _core
from qwen3edge.errors import RequestError
from qwen3edge.generation.answer import Answer
from qwen3edge.generation.model import Model, load
from qwen3edge.runtime.plan import format_bytes
from qwen3edge.settings import Settings

_ROOM = 64  # tokens of a page, which a prompt that is in the cache takes once more while it is shared


@dataclass(frozen=True)
class Work:
    """What is measured: so many answers of `generate` tokens to prompts of random tokens, the first `shared` of which
    all have in common. sampling: arguments of `generate`.
    """

    sequences: int
    prompt: int
    generate: int
    shared: int
    sampling: dict[str, Any]

    def check(self) -> None:
        """Raises RequestError."""
        if self.generate < 2:
            raise RequestError(f"expected --generate of at least 2, found {self.generate}")
        if not 0 <= self.shared < self.prompt:
            raise RequestError(
                f"expected --shared-prefix from 0 to {self.prompt - 1}, less than --prompt, found {self.shared}"
            )


def measure(
    path: str, work: Work, repeat: int, loading: Settings, say: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """The figures of one model, medians over the repeats. say: told what begins, never while it is timed."""
    work.check()
    random = np.random.default_rng(0)
    need = work.prompt + work.generate
    settings: Settings = {**loading, "texts": False}
    if settings.get("context") is None:
        settings["context"] = need + _ROOM
    with load(path, **settings) as model:
        if need > model.plan.context:
            raise RequestError(
                f"expected --prompt and --generate to fit a context of {model.plan.context}, "
                f"found {work.prompt} + {work.generate}"
            )
        rounds = []
        for run in range(1, repeat + 1):
            say(f"{work.sequences} answers together: {run} of {repeat}")
            prompts = _prompts(work, model.config.vocab_size, random)
            rounds.append(_round(model, prompts, work))
        peak = _core.peak_resident_bytes()
        return {
            **{name: statistics.median(found[name] for found in rounds) for name in rounds[0]},
            "prompt": work.prompt,
            "shared_prefix": work.shared,
            "generate": work.generate,
            "sequences": work.sequences,
            **work.sampling,
            "peak_memory_bytes": peak,
            "planned_peak_bytes": model.plan.peak,
            "budget_bytes": model.plan.budget,
            "threads": model.plan.threads,
            "kv": model.plan.kv,
            "isa": _core.selected_isa(),
        }


def _prompts(work: Work, vocabulary: int, random: np.random.Generator) -> list[list[int]]:
    shared = random.integers(0, vocabulary, work.shared).tolist()
    own = random.integers(0, vocabulary, (work.sequences, work.prompt - work.shared)).tolist()
    return [shared + rest for rest in own]


def _round(model: Model, prompts: list[list[int]], work: Work) -> dict[str, float]:
    """From nothing; then with the prompts in the cache, so that all decode from the first step on; then by the core."""
    cold = _answers(model, prompts, work)
    usages = [found.answer.usage for found in cold]
    waited = [found.first - found.asked for found in cold]
    warm = _answers(model, prompts, work)
    decode = sum(len(found.answer.tokens) - 1 for found in warm) / (
        max(found.last for found in warm) - min(found.first for found in warm)
    )
    core = _core_rate(model, prompts, [found.answer.tokens for found in warm])
    return {
        "decode_tokens_per_second": decode,
        "core_decode_tokens_per_second": core,
        "core_share": decode / core,
        "tokens_per_second": work.sequences * work.generate / (max(f.last for f in cold) - cold[0].asked),
        "first_token_seconds": waited[0],
        "others_first_token_seconds": statistics.median(waited[1:]),
        "prompt_tokens": sum(usage.prompt_tokens for usage in usages),
        "computed_prompt_tokens": sum(usage.prompt_tokens - usage.cached_tokens for usage in usages),
    }


@dataclass(frozen=True)
class _Timed:
    """An answer that has ended, and when it was asked for."""

    answer: Answer
    asked: float

    @property
    def first(self) -> float:
        """When its first token came."""
        return self.asked + self.answer.usage.queue_seconds + self.answer.usage.prefill_seconds

    @property
    def last(self) -> float:
        return self.first + self.answer.usage.decode_seconds


def _answers(model: Model, prompts: list[list[int]], work: Work) -> list[_Timed]:
    """All asked for at once, read in turns."""
    found = []
    for prompt in prompts:
        answer = model.generate(
            prompt,
            max_tokens=work.generate,
            ignore_eos=True,
            seed=0,
            **work.sampling,
        )
        found.append(_Timed(answer, time.perf_counter()))
    running = [each.answer for each in found]
    while running:
        for answer in running:
            next(answer, None)
        running = [answer for answer in running if answer.finish_reason is None]
    return found


def _core_rate(model: Model, prompts: list[list[int]], answers: list[list[int]]) -> float:
    """Tokens a second of the same answers, a row each, straight through the core: nothing is picked or written."""
    engine, steps = model.engine, len(answers[0]) - 1
    sequences: list[int] = []
    try:
        for prompt in prompts:
            sequences.append(engine.acquire())
            for start in range(0, len(prompt), engine.plan.chunk):
                engine.extend(sequences[-1], prompt[start : start + engine.plan.chunk], logits=False)
        began = time.perf_counter()
        for step in range(steps):
            tokens = [answer[step] for answer in answers]
            engine.core.forward(tokens, [len(prompt) + step for prompt in prompts], sequences, [True] * len(tokens))
        return len(prompts) * steps / (time.perf_counter() - began)
    finally:
        for sequence in sequences:
            engine.release(sequence)


def table(result: dict[str, Any]) -> str:
    """For people."""
    count, prompt = result["sequences"], result["prompt"]
    rate, core = result["decode_tokens_per_second"], result["core_decode_tokens_per_second"]
    computed, given = result["computed_prompt_tokens"], result["prompt_tokens"]
    shared = f", {result['shared_prefix']} of {prompt} in common" if result["shared_prefix"] else ""
    return "\n".join(
        [
            f"decode  {rate:10.1f} tok/s  ({count} answers of {result['generate']} tokens together, {rate / count:.1f} "
            f"each; {100 * result['core_share']:.0f} % of the {core:.1f} of the bare core with {count} rows a step)",
            f"all     {result['tokens_per_second']:10.1f} tok/s  (from the requests on, with prompts of {prompt})",
            f"prompts {computed:10.0f} tokens computed of {given:.0f} given{shared}",
            f"first   {result['first_token_seconds']:10.3f} s  to the first answer's first token; to the others' "
            f"{result['others_first_token_seconds']:.3f} s",
            f"peak    {format_bytes(result['peak_memory_bytes']):>10}    "
            f"(planned {format_bytes(result['planned_peak_bytes'])}, budget {format_bytes(result['budget_bytes'])})",
            f"{result['threads']} threads, {result['isa']}, KV cache in {result['kv']}",
        ]
    )
