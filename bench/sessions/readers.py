"""Answers that are read by a thread each, and the bare core with as many rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.quiet import BenchError
from qwen3edge.generation.answer import Answer
from qwen3edge.generation.model import Model
from qwen3edge.generation.sampler import SamplingParameters

Sampling = dict[str, Any]
PLAIN: Sampling = {
    **{"top_k": 0, "top_p": 1.0, "min_p": 0.0},
    **{"presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0},
}
"""Nothing but a temperature, whatever the file says: random tokens may open a thought, and that has defaults of its
own."""

PATIENCE = 3600.0  # seconds until a bench gives up


class Readers:
    """Threads that ask and read, all from one moment on.

    times: when each piece of each answer came, in seconds; tokens: of each, when it has ended. Both grow meanwhile.
    """

    def __init__(self, asks: Sequence[Callable[[], Answer]]) -> None:
        self.tokens: list[list[int]] = [[] for _ in asks]
        self.times: list[list[float]] = [[] for _ in asks]
        self._stopped = threading.Event()
        self._errors: list[BaseException] = []
        self._ready = threading.Barrier(len(asks) + 1)
        self._threads = [threading.Thread(target=self._read, args=each, daemon=True) for each in enumerate(asks)]
        for thread in self._threads:
            thread.start()
        self._ready.wait(PATIENCE)
        self.began = time.perf_counter()

    def stop(self) -> None:
        """Each ends its answer after the next piece."""
        self._stopped.set()

    def join(self) -> float:
        """Waits for all; returns the seconds since they began. Raises BenchError for an answer that failed."""
        for thread in self._threads:
            thread.join(PATIENCE)
        seconds = time.perf_counter() - self.began
        if self._errors:
            raise BenchError(f"a reader failed: {self._errors[0]!r}")
        return seconds

    def _read(self, number: int, ask: Callable[[], Answer]) -> None:
        try:
            self._ready.wait(PATIENCE)
            with ask() as answer:
                for _ in answer:
                    self.times[number].append(time.perf_counter())
                    if self._stopped.is_set():
                        break
            self.tokens[number] = answer.tokens
        except BaseException as error:
            self._errors.append(error)


class BareRows:
    """Sequences of the core's own engine, past the scheduler, each with a prompt that was computed but for its last
    token. reuse: of prompts what the prefix cache holds.
    """

    def __init__(self, model: Model, prompts: Sequence[Sequence[int]], *, reuse: bool) -> None:
        self._engine, self._core = model.engine, model.engine.core
        self._sequences = [model.engine.acquire() for _ in prompts]
        self._lengths = [len(prompt) - 1 for prompt in prompts]
        for sequence, prompt in zip(self._sequences, prompts, strict=True):
            held = self._core.reuse(sequence, prompt) if reuse else 0  # type: ignore[attr-defined]
            for start in range(held, len(prompt) - 1, model.plan.chunk):
                part = prompt[start : min(start + model.plan.chunk, len(prompt) - 1)]
                self._core.forward(part, range(start, start + len(part)), [sequence] * len(part), [False] * len(part))

    def step(self, tokens: Sequence[int]) -> Any:
        """The next token of each; returns float32 [rows, vocabulary]."""
        rows = self._core.forward(tokens, self._lengths, self._sequences, [True] * len(tokens))
        self._lengths = [length + 1 for length in self._lengths]
        return rows

    def close(self) -> None:
        """Gives the sequences back."""
        for sequence in self._sequences:
            self._engine.release(sequence)


def tokens_alone(model: Model, prompt: Sequence[int], count: int, sampling: Sampling) -> list[int]:
    """What a request for so many tokens gives alone: all of it is computed by the bare core and drawn by a sampler,
    without scheduler and cache. sampling: as for `generate`, all of PLAIN. The model's end tokens are never picked.
    """
    return tokens_of_bare_rows(model, [prompt], count, sampling)[0]


def tokens_of_bare_rows(
    model: Model, prompts: Sequence[Sequence[int]], count: int, sampling: Sampling
) -> list[list[int]]:
    """The same for several prompts, a row of each in every step."""
    parameters = {name: value for name, value in sampling.items() if name != "seed"}
    samplers = []
    for prompt in prompts:
        sampler = SamplingParameters(**parameters).sampler(
            model.config.vocab_size,
            sampling.get("seed", 0),
            usable=model.tokenizer.vocabulary_size,
            never=model.config.stop_token_ids,
        )
        for token in prompt:
            sampler.accept(token, False)
        samplers.append(sampler)
    rows, tokens = BareRows(model, prompts, reuse=False), [[prompt[-1]] for prompt in prompts]
    for _ in range(count):
        logits = rows.step([each[-1] for each in tokens])
        for each, sampler, row in zip(tokens, samplers, logits, strict=True):
            each.append(sampler.sample(row))
            sampler.accept(each[-1], True)
    rows.close()
    return [each[1:] for each in tokens]
