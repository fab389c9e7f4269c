"""Tokens a second with drafts by a smaller model, beside plain decoding, at shares of right drafts that are fixed.

    python -m bench.sessions.draft_model [--model FILE.q3e --draft FILE.q3e] [--right 0 0.6 0.8] [--generate 96]

Random weights agree on nothing, so what the draft model computes is paid for and then replaced: each of its tokens is
the one that the answer has in that place with the given probability, else another one. The answers are sampled, so that
nothing repeats and the look-up finds nothing; all must be the same tokens. `right`: of the tokens that were drafted.
Default: the shapes of Qwen3-8B and Qwen3-0.6B, which take 5 GB of disk and some minutes to make, and are kept.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from bench.harness import Report, describe_machine, existing, interleave, main, positive
from bench.report import make_shape
from bench.sessions.files import WORK
from bench.tables import number
from qwen3edge import _core

PROMPT, SEED, FLOOR = 64, 11, 0.97
SURE = 1e4  # a logit above all others


class KnownAnswer:
    """A draft model's engine that says the answer's own tokens so often."""

    def __init__(self, core: _core.Engine, right: float) -> None:
        self._core, self._right, self.plan = core, right, core.plan
        self.length, self.truncate = core.length, core.truncate
        self.tokens: Sequence[int] = ()  # of the prompt and the answer
        self._random = random.Random(SEED)

    def forward(self, tokens: Any, positions: Any, sequences: Any, want: Any, *, cancel: Any = None) -> Any:
        rows = self._core.forward(tokens, positions, sequences, want, cancel=cancel)
        asked = [position for position, wanted in zip(positions, want, strict=True) if wanted]
        for row, position in zip(rows, asked, strict=True):
            token = self.tokens[position + 1] if position + 1 < len(self.tokens) else 0
            row[token if self._random.random() < self._right else (token + 1) % len(row)] = SURE
        return rows


class Decoding:
    """One sampled answer after another, by a scheduler of its own."""

    def __init__(self, core: _core.Engine, file: _core.ModelFile, count: int, draft: KnownAnswer | None = None) -> None:
        self.vocabulary = file.get("qwen3edge.vocab_size")
        self.scheduler = _core.Scheduler(core, self.vocabulary, draft=draft)
        self.prompt = [random.Random(SEED).randrange(self.vocabulary) for _ in range(PROMPT)]
        self.count = count
        self.tokens: list[int] = []

    def rate(self) -> float:
        """Tokens a second from the first one on."""
        sampler = _core.Sampler(vocabulary=self.vocabulary, temperature=1.0, seed=SEED)
        generation = self.scheduler.submit(self.prompt, sampler, max_tokens=self.count)
        self.tokens, start, first = [], 0.0, 0
        while (news := generation.next()) is not None:
            news.raise_error()
            self.tokens += news.tokens
            if self.tokens and not first:
                first, start = len(self.tokens), perf_counter()
        return (len(self.tokens) - first) / (perf_counter() - start)


def bench(arguments: argparse.Namespace) -> Report:
    """A row for each share."""
    WORK.mkdir(parents=True, exist_ok=True)
    paths = [arguments.model or make_shape(WORK, "8B"), arguments.draft or make_shape(WORK, "0.6B")]
    files = [_core.ModelFile(str(path)) for path in paths]
    settings = {"context": PROMPT + arguments.generate, "threads": arguments.threads}
    small = _core.Engine(files[1], **settings)
    plain = Decoding(_core.Engine(files[0], **settings), files[0], arguments.generate)
    target = _core.Engine(files[0], draft_tokens=arguments.draft_tokens, **settings)
    report = Report(f"Drafts of up to {arguments.draft_tokens} tokens by a smaller model", describe_machine())
    plain.rate()
    for right in arguments.right:
        draft = KnownAnswer(small, right)
        draft.tokens = [*plain.prompt, *plain.tokens]
        drafting = Decoding(target, files[0], arguments.generate, draft)
        drafting.rate()
        before = drafting.scheduler.counts
        found = interleave({"plain": plain.rate, "drafts": drafting.rate}, arguments.rounds, "tok/s")
        counts = drafting.scheduler.counts
        steps, drafted, accepted = (counts[key] - before[key] for key in ("steps", "drafted", "accepted_drafts"))
        report.accept(str(right), drafting.tokens == plain.tokens, "the answers with drafts and without differ")
        ratio = found["drafts"].ratio_to(found["plain"])
        report.add(
            str(right),
            right=right,
            plain=found["plain"].text(),
            drafts=found["drafts"].text(),
            ratio=ratio.text(),
            drafted=drafted // arguments.rounds,
            accepted=f"{100 * accepted / max(1, drafted):.0f} %",
            a_step=number(arguments.generate * arguments.rounds / max(1, steps)),
        )
        report.notes.append(f"{right}: at least {FLOOR} x: {'met' if ratio.median >= FLOOR else 'missed'}")
    return report


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=existing, help="a .q3e file")
    options.add_argument("--draft", type=existing, help="of a smaller model")
    options.add_argument("--right", type=float, nargs="+", default=[0.0, 0.6, 0.8], help="shares (0 0.6 0.8)")
    options.add_argument("--draft-tokens", type=positive, default=8)
    options.add_argument("--generate", type=positive, default=96, help="tokens of an answer")
    options.add_argument("--threads", type=positive, default=2)
    options.add_argument("--rounds", type=positive, default=3)
    return options


if __name__ == "__main__":
    sys.exit(main(bench, parser()))
