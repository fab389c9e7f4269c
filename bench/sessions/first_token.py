"""The first token of the tenth turn of a long chat, beside computing what has to be computed there and nothing else.

    python -m bench.sessions.first_token [--model FILE.q3e] [--tokens 8000] [--rounds 3]

Through the public API: messages in, template, tokenizer, prefix cache, scheduler, the answer's first token out. Beside
it the bare core computes, after the same beginning, the tokens of the prompt that the cache did not hold. Both take
turns, each round with a last question of its own. Both must come to the same token. Answers of a chat are short or
long; of the last one the template drops what the model has written before it, so it is computed again. Default: the
shape of Qwen3-0.6B.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass

import numpy as np

from bench.harness import Measured, Report, describe_machine, existing, main, positive
from bench.peers import ROOT
from bench.sessions import files
from bench.sessions.ledger import Message
from qwen3edge.generation.model import Model

MOST = 1.1  # times the bare core's
TURNS = 10
TEXT = ROOT / "tests" / "data" / "real-text.txt"
QUESTION = 30  # tokens of the last one
SHORT = 50  # tokens
EXTRA = 40  # tokens of the template, and by which texts may be longer than asked for


class Texts:
    """Stretches of a real text, each another one, of as many tokens as asked for or some more or less."""

    def __init__(self, model: Model, place: int = 0) -> None:
        self._tokenizer, self._place = model.tokenizer, place
        self._tokens = self._tokenizer.encode(TEXT.read_text(encoding="utf-8"))

    def take(self, count: int) -> str:
        begin, self._place = self._place, self._place + count
        return self._tokenizer.decode([self._tokens[i % len(self._tokens)] for i in range(begin, begin + count)])


def begin(model: Model, tokens: int, answer: int) -> list[Message]:
    """Nine questions, asked one after the other, and the answers between them: about `tokens`, of which each answer has
    `answer`.
    """
    texts, messages = Texts(model), [{"role": "system", "content": "You are a helpful assistant."}]
    question = tokens // (TURNS - 1) - answer - 10
    for turn in range(1, TURNS):
        if turn > 1:
            messages.append({"role": "assistant", "content": texts.take(answer)})
        messages.append({"role": "user", "content": texts.take(question)})
        model.generate(messages, thinking=False, max_tokens=1, temperature=0).read()
        print(f"turn {turn} of {TURNS}", file=sys.stderr)
    return messages


def last_turns(model: Model, messages: list[Message], answer: int, count: int) -> list[list[Message]]:
    """So many ways in which the chat may go on, each with a last answer and a question of its own."""
    texts = Texts(model, place=10_000)
    return [
        [
            *messages,
            {"role": "assistant", "content": f"{number}: {texts.take(answer)}"},
            {"role": "user", "content": texts.take(QUESTION)},
        ]
        for number in range(count)
    ]


@dataclass(frozen=True)
class Sample:
    api: float  # seconds
    bare: float
    computed: int  # tokens
    prompt: int
    tokens: tuple[int, int]  # what both came to


def take(model: Model, messages: list[Message]) -> Sample:
    """One of each."""
    start = time.perf_counter()
    answer = model.generate(messages, thinking=False, max_tokens=1, temperature=0)
    answer.read()
    api = time.perf_counter() - start
    prompt, cached = model.tokens_of(messages, thinking=False), answer.usage.cached_tokens
    sequence = model.engine.acquire()
    try:
        core, chunk = model.engine.core, model.plan.chunk
        core.reuse(sequence, prompt)  # type: ignore[attr-defined]
        core.truncate(sequence, cached)
        start = time.perf_counter()
        for i in range(cached, len(prompt), chunk):
            part = prompt[i : i + chunk]
            want = [i + j + 1 == len(prompt) for j in range(len(part))]
            logits = core.forward(part, range(i, i + len(part)), [sequence] * len(part), want)
        token = int(np.argmax(logits[0][: model.tokenizer.vocabulary_size]))
        bare = time.perf_counter() - start
    finally:
        model.engine.release(sequence)
    return Sample(api, bare, len(prompt) - cached, len(prompt), (answer.tokens[0], token))


def bench(arguments: argparse.Namespace) -> Report:
    """A row for short and for long answers."""
    path = arguments.model or files.random_06b()
    report = Report(f"First token of turn {TURNS} of a chat", describe_machine())
    context = arguments.tokens + arguments.tokens // 8 + 64
    for answer in (SHORT, arguments.tokens // TURNS - SHORT):
        with files.load(path, context=context, sequences=2, threads=arguments.threads) as model:
            asked = last_turns(model, begin(model, arguments.tokens, answer), answer, arguments.rounds + 1)
            first, *samples = (take(model, each) for each in asked)
        case, all_samples = f"answers of {answer} tokens", [first, *samples]
        same = all(sample.tokens[0] == sample.tokens[1] for sample in all_samples)
        report.accept(case, same, "the first tokens differ")
        most = answer + QUESTION + EXTRA
        few = all(answer <= sample.computed <= most for sample in all_samples)
        report.accept(case, few, f"{first.computed} tokens were computed, expected at most {most}")
        api, bare = (
            Measured(name, "s", tuple(getattr(sample, name) for sample in samples)) for name in ("api", "bare")
        )
        ratio = api.ratio_to(bare)
        report.add(
            case, answers=answer, prompt=first.prompt, computed=samples[0].computed, api_s=api.text(),
            bare_s=bare.text(), ratio=ratio.text(), bar=f"{MOST} x: {'met' if ratio.median <= MOST else 'missed'}",
        )  # fmt: skip
    report.notes.append(f"medians of {arguments.rounds} rounds in turns (smallest to largest), after one that warms up")
    return report


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=existing, help="a .q3e file")
    options.add_argument("--tokens", type=positive, default=8000, help="of the chat")
    options.add_argument("--threads", type=positive, default=2)
    options.add_argument("--rounds", type=positive, default=3)
    return options


if __name__ == "__main__":
    sys.exit(main(bench, parser()))
