"""Many requests of random sessions from several threads, most of which go away in the middle: memory stays what it was.

    python -m bench.sessions.soak [--requests 1000 | --minutes 60] [--threads 6] [--seed N] [--json]

A third of the requests are cancelled at a random point: in the queue, while their prompt is read, while they decode, by
their reader or by another thread; or dropped without a word. Prompts begin alike, pages are few, so that answers are
sent back to the queue and cached prefixes given up. All tokens are compared with what each request gives alone. At the
end pages, sequences and threads are what they were, and VmHWM is within the plan's budget; RssAnon + VmSwap of the half
and of the end are printed. Exit status 1: one of these does not hold. No time is measured.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import secrets
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.harness import existing, positive
from bench.process_memory import anonymous, memory_of
from bench.sessions import files
from bench.sessions.readers import PLAIN, Sampling, tokens_alone
from qwen3edge.generation.answer import Answer
from qwen3edge.generation.model import Model

REQUESTS, KINDS = 1000, 40  # of them different ones
CONTEXT, SEQUENCES, CHUNK = 768, 4, 64
MOST = 240  # tokens of an answer
PAGES = 16  # of 64 tokens, where four contexts would be 48
GROWTH = 1 << 20  # bytes by which RssAnon + VmSwap may grow from the half to the end
ENDS = ("in the queue", "in its prompt", "while it decodes", "by another thread", "dropped")
WAYS = (*("read",) * 2 * len(ENDS), *ENDS)


@dataclass(frozen=True)
class Request:
    prompt: list[int]
    sampling: Sampling
    tokens: list[int]  # that it gives alone


@dataclass
class Soak:
    """What the threads share."""

    model: Model
    requests: list[Request]
    left: int  # to be begun
    until: float  # or by this time
    ways: Counter[str] = field(default_factory=Counter)
    errors: list[BaseException] = field(default_factory=list)
    half: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def more(self, way: str) -> bool:
        """Whether another one is to be begun; counts it."""
        with self.lock:
            if self.errors or self.left <= 0 or time.monotonic() >= self.until:
                return False
            self.left -= 1
            self.ways[way] += 1
            return True


def some_requests(model: Model, draw: random.Random) -> list[Request]:
    """Beginnings of a few texts with ends of their own, greedy and sampled."""
    vocabulary = model.tokenizer.vocabulary_size
    texts = [[draw.randrange(vocabulary) for _ in range(CONTEXT // 2)] for _ in range(3)]
    found = []
    for number in range(KINDS):
        prompt = draw.choice(texts)[: draw.randrange(CONTEXT // 2)] + [draw.randrange(vocabulary) for _ in range(5)]
        sampled = {"temperature": 1.2, "top_k": 40, "seed": number}
        sampling: Sampling = {**PLAIN, **({"temperature": 0} if number % 2 else sampled)}
        found.append(Request(prompt, sampling, tokens_alone(model, prompt, draw.randrange(1, MOST), sampling)))
    return found


def ask(soak: Soak, request: Request, way: str, draw: random.Random) -> list[int]:
    """One request, ended that way; what it gave."""
    model = soak.model
    answer: Answer | None = None

    def close(_done: int, _all: int) -> None:
        assert answer is not None
        answer.close()

    # Some do not say how long they will be: an eighth of the context is promised them, and they outgrow it.
    session, most = model.session(), draw.choice((None, len(request.tokens)))
    settings = {"max_tokens": most, "ignore_eos": True, **request.sampling}
    answer = session.generate(request.prompt, progress=close if way == "in its prompt" else None, **settings)
    stop = draw.randrange(1, len(request.tokens) + 1)
    if way == "in the queue":
        answer.close()
    elif way == "by another thread":
        timer = threading.Timer(draw.uniform(0, 0.2), session.cancel)
        timer.start()
        answer.read()
        timer.join()
    else:
        limit = stop if way in ("while it decodes", "dropped") else len(request.tokens)
        while len(answer.tokens) < limit and next(answer, None) is not None:
            pass
    tokens = list(answer.tokens)
    if way != "dropped":
        session.close()
    return tokens


def work(soak: Soak, seed: str) -> None:
    """A thread's share."""
    draw = random.Random(seed)
    try:
        while soak.more(way := draw.choice(WAYS)):
            request = draw.choice(soak.requests)
            tokens = ask(soak, request, way, draw)
            count = min(len(tokens), len(request.tokens))
            if tokens[:count] != request.tokens[:count] or (way == "read" and count < len(request.tokens)):
                raise AssertionError(f"a request that was ended {way} gave other tokens than alone")
    except BaseException as error:
        soak.errors.append(error)


def run(path: Path, requests: int, minutes: float, threads: int, seed: int) -> dict[str, Any]:
    """The figures. Raises what a thread raised."""
    settings = {"context": CONTEXT, "sequences": SEQUENCES, "chunk": CHUNK, "threads": 2}
    with files.load(path, PAGES, **settings) as model:
        draw = random.Random(seed)
        made = some_requests(model, draw)
        core = model.engine.core
        before, pages = memory_of(), core.available_pages()  # type: ignore[attr-defined]
        halves = [requests // 2, requests - requests // 2]
        soak = Soak(model, made, 0, 0)
        found: list[dict[str, int]] = []
        for number, half in enumerate(halves):
            soak.left, soak.until = half, time.monotonic() + (30 * minutes or 1e9)
            workers = [threading.Thread(target=work, args=(soak, f"{seed} {number} {i}")) for i in range(threads)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            if soak.errors:
                raise soak.errors[0]
            gc.collect()
            found.append(memory_of())
        counts = model.engine.scheduler.counts
        return {
            "seed": seed,
            "requests": sum(soak.ways.values()),
            "ended": dict(soak.ways),
            "preemptions": counts["preemptions"],
            "running": counts["running"] + counts["waiting"],
            "sequences": [SEQUENCES, counts["free_sequences"]],
            "pages": [pages, core.available_pages()],  # type: ignore[attr-defined]
            "threads": [before["Threads"], found[1]["Threads"]],
            "anonymous": [anonymous(each) for each in (before, *found)],
            "peak": found[1]["VmHWM"],
            "budget": model.plan.budget,
        }


def faults(found: dict[str, Any]) -> list[str]:
    """What does not hold."""
    same = [f"{name}: {found[name][0]} at the start, {found[name][1]} at the end"
            for name in ("sequences", "pages", "threads") if found[name][0] != found[name][1]]  # fmt: skip
    _, half, end = found["anonymous"]
    return [
        *same,
        *(["requests are still there at the end"] if found["running"] else []),
        *([f"VmHWM {found['peak']} above the budget of {found['budget']}"] if found["peak"] > found["budget"] else []),
        *([f"RssAnon + VmSwap grew by {end - half} bytes in the second half"] if end - half > GROWTH else []),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=existing, help="a .q3e file (default: the tiny model)")
    parser.add_argument("--requests", type=positive, help=f"(default: {REQUESTS})")
    parser.add_argument("--minutes", type=positive, help="for so long instead")
    parser.add_argument("--threads", type=positive, default=6)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    print(f"seed {given.seed}", file=sys.stderr)
    requests = given.requests or (10**9 if given.minutes else REQUESTS)
    found = run(given.model or files.kept(files.TINY), requests, given.minutes or 0, given.threads, given.seed)
    if given.json:
        print(json.dumps(found))
    else:
        mebibytes = ", ".join(f"{size / 2**20:.1f}" for size in found["anonymous"])
        ways = ", ".join(f"{count} {way}" for way, count in sorted(found["ended"].items()))
        print(f"{found['requests']} requests: {ways}; {found['preemptions']} sent back to the queue")
        for name in ("sequences", "pages", "threads"):
            print(f"{name}: {found[name][0]} at the start, {found[name][1]} at the end")
        print(f"RssAnon + VmSwap at the start, the half and the end: {mebibytes} MiB")
        print(f"VmHWM {found['peak'] / 2**20:.1f} MiB of {found['budget'] / 2**20:.1f}")
    bad = faults(found)
    print("\n".join(bad), file=sys.stderr, end="\n" if bad else "")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
