"""How long answers stand still while somebody else's long prompt is read, and what sharing steps costs the prompt.

    python -m bench.sessions.gaps [--model FILE.q3e] [--decoding 7] [--prompt 4000] [--rounds 3]

Sessions decode, each read by a thread of its own, when another one asks with a long prompt. `gap` is the longest time
between two tokens of any of them while it is read; it may be 0.1 s, or four steps in which nothing is read where that
is more. The prompt's time is to its first token, beside that of as long a prompt alone. Answers are held to words that
have a piece of text each, so that each token is seen when it comes; all are compared with what their requests give
alone. Default: the shape of Qwen3-0.6B.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import numpy as np

from bench.harness import Measured, Report, describe_machine, existing, main, positive
from bench.quiet import BenchError
from bench.sessions import files
from bench.sessions.readers import PLAIN, Readers, Sampling, tokens_alone
from bench.tables import number
from qwen3edge.generation.answer import Answer
from qwen3edge.generation.model import Model
from qwen3edge.sampling import MAX_BIASES

LONGEST, STEPS = 0.1, 4  # seconds; times a step without prompts
PROMPT = 32  # tokens of those that decode
BEFORE = 12  # tokens of each before the long prompt comes
MOST_BIAS = 100.0


def words(model: Model) -> dict[int, float]:
    """A logit_bias that leaves nothing but words in letters, so that every token is a piece of text of its own."""
    texts = ((token, model.tokenizer.decode([token])) for token in range(model.tokenizer.vocabulary_size))
    found = [token for token, text in texts if text.isascii() and text.strip().isalpha()]
    return dict.fromkeys(found[:MAX_BIASES], MOST_BIAS)


@dataclass(frozen=True)
class Sample:
    """In seconds."""

    step: float  # the median between two tokens before the long prompt
    gap: float  # the longest, while it was read
    beside: float  # to the first token of the long prompt
    alone: float

    @property
    def allowed(self) -> float:
        return max(LONGEST, STEPS * self.step)


class Requests:
    """Some that decode, the same ones each time, and long prompts, each another one."""

    def __init__(self, model: Model, decoding: int, prompt: int) -> None:
        self.model, self.length, self.random = model, prompt, np.random.default_rng(0)
        self.sampling: Sampling = {**PLAIN, "temperature": 0, "logit_bias": words(model)}
        self.prompts = [self.some(PROMPT) for _ in range(decoding)]
        self.known: list[list[int]] = [[] for _ in self.prompts]

    def some(self, count: int) -> list[int]:
        """Random tokens."""
        found: list[int] = self.random.integers(0, self.model.tokenizer.vocabulary_size, count).tolist()
        return found

    def ask(self, prompt: list[int], most: int | None = None) -> Answer:
        return self.model.generate(prompt, max_tokens=most, ignore_eos=True, **self.sampling)

    def first_token(self, prompt: list[int]) -> tuple[float, list[int]]:
        """Seconds to it, and it."""
        start = perf_counter()
        answer = self.ask(prompt, 1)
        answer.read()
        return perf_counter() - start, answer.tokens

    def take(self) -> Sample:
        """One of a long prompt beside the others, and one of a long prompt alone. Raises BenchError for other tokens
        than each gives alone.
        """
        readers = Readers([partial(self.ask, prompt) for prompt in self.prompts])
        while min(map(len, readers.times)) < BEFORE:
            time.sleep(0.001)
        prompts = [self.some(self.length) for _ in range(2)]
        came = perf_counter()
        beside, first = self.first_token(prompts[0])
        readers.stop()
        readers.join()
        alone, second = self.first_token(prompts[1])
        self.check(readers.tokens, list(zip(prompts, (first, second), strict=True)))
        pairs = [pair for times in readers.times for pair in itertools.pairwise(times)]
        before = statistics.median(b - a for a, b in pairs if b < came)
        return Sample(before, max(b - a for a, b in pairs if b > came and a < came + beside), beside, alone)

    def check(self, found: list[list[int]], long: list[tuple[list[int], list[int]]]) -> None:
        most = max(map(len, found))
        for i, prompt in enumerate(self.prompts):
            if len(self.known[i]) < most:
                self.known[i] = tokens_alone(self.model, prompt, most, self.sampling)
        if any(tokens != known[: len(tokens)] for tokens, known in zip(found, self.known, strict=True)):
            raise BenchError("answers beside a long prompt have other tokens than alone")
        if any(tokens_alone(self.model, prompt, 1, self.sampling) != tokens for prompt, tokens in long):
            raise BenchError("a long prompt gives another token than alone")


def bench(arguments: argparse.Namespace) -> Report:
    """One row."""
    path = arguments.model or files.random_06b()
    settings = {"context": arguments.context or arguments.prompt + 512, "threads": arguments.threads}
    with files.load(path, **settings, sequences=arguments.decoding + 1) as model:
        requests = Requests(model, arguments.decoding, arguments.prompt)
        samples = [requests.take() for _ in range(arguments.rounds + 1)][1:]
    report = Report(
        f"{arguments.decoding} sessions decode while {arguments.prompt} tokens are read", describe_machine()
    )
    report.accept("tokens", True, "")
    step, gap, beside, alone, allowed = (
        Measured(name, "s", tuple(getattr(sample, name) for sample in samples))
        for name in ("step", "gap", "beside", "alone", "allowed")
    )
    report.add(
        "tokens", step_s=step.text(), gap_s=gap.text(), allowed_s=allowed.text(),
        gap="met" if all(sample.gap <= sample.allowed for sample in samples) else "missed",
        prompt_s=beside.text(), alone_s=alone.text(), of_alone=number(beside.ratio_to(alone).median),
    )  # fmt: skip
    report.notes.append(
        f"medians of {arguments.rounds} rounds in turns (smallest to largest), after one that warms up; gap: met when "
        f"the longest of every round is at most {LONGEST} s or {STEPS} steps"
    )
    return report


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=existing, help="a .q3e file")
    options.add_argument("--decoding", type=positive, default=7, help="sessions")
    options.add_argument("--prompt", type=positive, default=4000, help="tokens that are read meanwhile")
    options.add_argument("--context", type=positive, help="(default: the prompt and 512)")
    options.add_argument("--threads", type=positive, default=2)
    options.add_argument("--rounds", type=positive, default=3)
    return options


if __name__ == "__main__":
    sys.exit(main(bench, parser()))
