"""Tokens a second of many sessions at once, beside the bare core with as many rows and llama.cpp's server.

    python -m bench.sessions.throughput [--model FILE.q3e] [--peer-model FILE.gguf] [--generate 128] [--rounds 3]

Each session is read by a thread of its own, through the public API; the bare core computes the same tokens in as many
rows a step, and nothing else. All take turns within one process. Prompts are in the prefix cache (the server's, too),
so that decoding is what is timed. Answers do not end early, and each is compared with what its request gives alone:
without scheduler, by one row a step. Several sessions reach 0.95 of the core, one session 0.98, by the median of the
rounds. Not all begin in one step, and the last ones end in one of fewer rows: answers are so long that this is some
hundredth of their time. Default: the shape of Qwen3-0.6B; llama-server, when bench/peers.py finds it and --peer-model
is given, has 8 slots.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import sys
from collections.abc import Callable
from time import perf_counter

import numpy as np

from bench.harness import Measured, Report, describe_machine, existing, interleave, main, positive
from bench.quiet import BenchError
from bench.server.process import Server, llama_server, why_no_llama
from bench.sessions import files
from bench.sessions.llama_server import SLOTS, tokens_per_second
from bench.sessions.readers import PLAIN, BareRows, Readers, Sampling, tokens_alone
from bench.tables import number
from qwen3edge.generation.answer import Answer
from qwen3edge.generation.model import Model

SESSIONS = (1, 8, 16)
LEAST_OF_CORE, LEAST_ALONE = 0.95, 0.98
SAMPLINGS: dict[str, Sampling] = {
    "greedy": {**PLAIN, "temperature": 0},
    "temperature 0.7, top-k 20": {**PLAIN, "temperature": 0.7, "top_k": 20},
}
Prompts = list[list[int]]


class Requests:
    """As many requests as the most sessions, of one way of sampling, with the tokens that each gives alone."""

    def __init__(self, model: Model, prompts: Prompts, sampling: Sampling, count: int) -> None:
        self.model, self.prompts, self.count = model, prompts, count
        self.samplings = [{**sampling, "seed": n} for n in range(len(prompts))]
        self.tokens = [
            tokens_alone(model, prompt, count, each) for prompt, each in zip(prompts, self.samplings, strict=True)
        ]

    def ask(self, number: int) -> Answer:
        """One of them through the public API."""
        asked = self.samplings[number]
        return self.model.generate(self.prompts[number], max_tokens=self.count, ignore_eos=True, **asked)

    def api(self, sessions: int) -> float:
        """Tokens a second of so many sessions. Raises BenchError for any other token than alone."""
        readers = Readers([functools.partial(self.ask, n) for n in range(sessions)])
        seconds = readers.join()
        if readers.tokens != self.tokens[:sessions]:
            raise BenchError(f"{sessions} sessions side by side give other tokens than each alone")
        return sessions * self.count / seconds

    def bare(self, count: int) -> float:
        """The same tokens by the core alone, in so many rows."""
        rows = BareRows(self.model, self.prompts[:count], reuse=True)
        fed = [[prompt[-1], *tokens[:-1]] for prompt, tokens in zip(self.prompts, self.tokens, strict=True)][:count]
        start = perf_counter()
        for step in zip(*fed, strict=True):
            rows.step(step)
        seconds = perf_counter() - start
        rows.close()
        return count * self.count / seconds


def bench(arguments: argparse.Namespace) -> Report:
    """All numbers of sessions and ways of sampling."""
    path = arguments.model or files.random_06b()
    most, count = max(arguments.sessions), arguments.generate
    title = (
        f"{count} tokens after {arguments.prompt}, int8 cache, {arguments.threads} threads: tokens/s of all sessions"
    )
    report = Report(title, describe_machine())
    with contextlib.ExitStack() as held:
        context = arguments.prompt + count + 128  # a shared page is copied before it grows
        model = held.enter_context(files.load(path, context=context, sequences=most, threads=arguments.threads))
        random = np.random.default_rng(0)
        prompts = random.integers(0, model.tokenizer.vocabulary_size, (most, arguments.prompt)).tolist()
        absent = why_no_llama(arguments.peer_model)
        server = held.enter_context(_server(arguments, context)) if absent is None else None
        candidates: dict[str, Callable[[], float]] = {}
        for sampling, settings in SAMPLINGS.items():
            requests = Requests(model, prompts, settings, count)
            for sessions in arguments.sessions:
                candidates[f"api, {sessions}, {sampling}"] = functools.partial(requests.api, sessions)
                candidates[f"core, {sessions}, {sampling}"] = functools.partial(requests.bare, sessions)
                if server is not None and sessions <= SLOTS:
                    candidates[f"llama, {sessions}, {sampling}"] = functools.partial(
                        tokens_per_second, server, prompts[:sessions], count, settings
                    )
        for sample in candidates.values():  # compares all, and warms up
            sample()
        report.accept("tokens", True, "")
        found = interleave(candidates, arguments.rounds, "tok/s")
    _add_rows(report, arguments.sessions, found)
    report.notes.append(
        f"medians of {arguments.rounds} rounds in turns (smallest to largest); of_core: of the bare core with as many "
        "rows, and whether that is enough; of_one: of one session"
    )
    if absent is not None:
        report.notes.append(absent)
    return report


def _server(arguments: argparse.Namespace, context: int) -> Server:
    return llama_server(arguments.peer_model, threads=arguments.threads, context=context, slots=SLOTS)


def verdict(sessions: int, of_core: Measured) -> str:
    """Whether so many sessions reach their share of the core, with that share."""
    least = LEAST_ALONE if sessions == 1 else LEAST_OF_CORE
    return f"{'met' if of_core.median >= least else 'missed'} {least}"


def _add_rows(report: Report, sessions: list[int], found: dict[str, Measured]) -> None:
    for sampling in SAMPLINGS:
        one = found.get(f"api, 1, {sampling}")
        for count in sessions:
            api, core = (found[f"{who}, {count}, {sampling}"] for who in ("api", "core"))
            peer = found.get(f"llama, {count}, {sampling}")
            of_core = api.ratio_to(core)
            report.add(
                "tokens",
                sampling=sampling,
                sessions=count,
                api=api.text(),
                core=core.text(),
                of_core=of_core.text(),
                verdict=verdict(count, of_core),
                of_one=None if one is None else number(api.ratio_to(one).median),
                llama_server=None if peer is None else peer.text(),
                of_llama=None if peer is None else number(api.ratio_to(peer).median),
            )


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=existing, help="a .q3e file")
    options.add_argument("--peer-model", type=existing, help="a .gguf file of the same checkpoint")
    options.add_argument("--sessions", type=positive, nargs="+", default=list(SESSIONS))
    options.add_argument("--prompt", type=positive, default=64, help="tokens of each")
    options.add_argument("--generate", type=positive, default=128, help="tokens of each answer")
    options.add_argument("--threads", type=positive, default=2)
    options.add_argument("--rounds", type=positive, default=3)
    return options


if __name__ == "__main__":
    sys.exit(main(bench, parser()))
