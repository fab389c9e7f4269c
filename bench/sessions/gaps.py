"""How long answers stand still while somebody else's long prompt is read, and what sharing steps costs the prompt.

    python -m bench.sessions.gaps [--model FILE.q3e] [--decoding 7] [--prompt 4000] [--rounds 3]

Sessions decode, each read by a thread of its own, when another one asks with a long prompt. `gap` is the longest time
between two tokens of any of them while it is read; it may be 0.1 s, or four steps in which nothing is read where that
is more. The prompt's time is to its first token, beside that of as long a prompt alone. Answers are held to words that
have a piece of text each, so that each token is seen when it comes; at the end all are compared with what the bare core
gives. Default: the shape of Qwen3-0.6B.
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
from bench.sessions.readers import PLAIN, Readers, Sampling, tokens_alone, tokens_of_bare_rows
from bench.tables import number
from qwen3edge.generation.answer import Answer
from qwen3edge.generation.model import Model
from qwen3edge.sampling import MAX_BIASES

LONGEST, STEPS = 0.1, 4  # seconds; times a step without prompts
PROMPT = 32  # tokens of those that decode
UNREAD = 15.0  # seconds
WARM = 256  # tokens of the first long prompt, which is not measured
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
    unread: float  # the longest, while nothing was read
    beside: float  # to the first token of the long prompt
    alone: float

    @property
    def allowed(self) -> float:
        return max(LONGEST, STEPS * self.step)


class Requests:
    """Some that decode, and a long prompt, the same ones each time."""

    def __init__(self, model: Model, decoding: int, prompt: int) -> None:
        self.model, random = model, np.random.default_rng(0)
        vocabulary = model.tokenizer.vocabulary_size
        self.sampling: Sampling = {**PLAIN, "temperature": 0, "logit_bias": words(model)}
        self.prompts: list[list[int]] = random.integers(0, vocabulary, (decoding, PROMPT)).tolist()
        self.long: list[int] = random.integers(0, vocabulary, prompt).tolist()
        self.found: list[list[int]] = [[] for _ in self.prompts]  # the longest answer of any round
        self.first: list[int] = []

    def ask(self, prompt: list[int], most: int | None = None) -> Answer:
        return self.model.generate(prompt, max_tokens=most, ignore_eos=True, **self.sampling)

    def first_token(self) -> float:
        """Seconds until the long prompt, of which nothing is cached, gives one."""
        self.model.engine.core.clear_prefixes()  # type: ignore[attr-defined]
        start = perf_counter()
        answer = self.ask(self.long, 1)
        answer.read()
        seconds = perf_counter() - start
        if self.first and answer.tokens != self.first:
            raise BenchError("a long prompt gives another token than before")
        self.first = answer.tokens
        return seconds

    def take(self) -> Sample:
        """The long prompt beside the others, and alone. Raises BenchError for other tokens than those of before."""
        readers = Readers([partial(self.ask, prompt) for prompt in self.prompts])
        while min(map(len, readers.times)) < BEFORE:
            time.sleep(0.001)
        came = perf_counter()
        beside = self.first_token()
        time.sleep(min(beside, UNREAD))
        readers.stop()
        readers.join()
        alone = self.first_token()
        self.found = [self.agreed(*pair) for pair in zip(self.found, readers.tokens, strict=True)]
        pairs = [pair for times in readers.times for pair in itertools.pairwise(times)]
        before = statistics.median(b - a for a, b in pairs if b < came)
        gap = max(b - a for a, b in pairs if b > came and a < came + beside)
        return Sample(before, gap, max(b - a for a, b in pairs if a >= came + beside), beside, alone)

    @staticmethod
    def agreed(one: list[int], other: list[int]) -> list[int]:
        """The longer one."""
        if any(a != b for a, b in zip(one, other, strict=False)):
            raise BenchError("answers beside a long prompt have other tokens than before")
        return max(one, other, key=len)

    def check(self) -> None:
        """All rounds, by the bare core. Raises BenchError."""
        most = max(map(len, self.found))
        expected = tokens_of_bare_rows(self.model, self.prompts, most, self.sampling)
        if any(tokens != known[: len(tokens)] for tokens, known in zip(self.found, expected, strict=True)):
            raise BenchError("answers beside a long prompt have other tokens than alone")
        if tokens_alone(self.model, self.long, 1, self.sampling) != self.first:
            raise BenchError("a long prompt gives another token than alone")


def bench(arguments: argparse.Namespace) -> Report:
    """One row."""
    path = arguments.model or files.random_06b()
    settings = {"context": arguments.context or arguments.prompt + 512, "threads": arguments.threads}
    with files.load(path, **settings, sequences=arguments.decoding + 1) as model:
        requests = Requests(model, arguments.decoding, arguments.prompt)
        warm = Requests(model, arguments.decoding, min(arguments.prompt, WARM))
        warm.take()
        samples = [requests.take() for _ in range(arguments.rounds)]
        requests.check()
    report = Report(
        f"{arguments.decoding} sessions decode while {arguments.prompt} tokens are read", describe_machine()
    )
    report.accept("tokens", True, "")
    step, gap, unread, beside, alone, allowed = (
        Measured(name, "s", tuple(getattr(sample, name) for sample in samples))
        for name in ("step", "gap", "unread", "beside", "alone", "allowed")
    )
    of_allowed = gap.ratio_to(allowed)
    report.add(
        "tokens", step_s=step.text(), gap_s=gap.text(), allowed_s=allowed.text(),
        of_allowed=of_allowed.text(), gap="met" if of_allowed.median <= 1 else "missed",
        unread_s=unread.text(), prompt_s=beside.text(), alone_s=alone.text(),
        of_alone=number(beside.ratio_to(alone).median),
    )  # fmt: skip
    report.notes.append(
        f"medians of {arguments.rounds} rounds in turns (smallest to largest), after one that warms up; gap: the "
        f"longest of a round, met when it is at most {LONGEST} s or {STEPS} of that round's steps"
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
