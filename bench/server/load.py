"""Many clients at once: our server beside llama.cpp's.

    python -m bench.server.load [--model FILE.q3e] [--peer-model FILE.gguf] [--clients 1 2 4 8 16 64] [--plot FILE.png]

Clients on this machine stream completions, each the next one when its last has ended: prompts of 200 to 2,000 tokens,
which have nothing in common, and answers of as many words as asked, each of one token and one piece of text.
`tokens_s`: of answers, from the first request to the end of the last; `first`: seconds until an answer begins; `gap`:
between two pieces of an answer. A round has at most 32 requests, but one for each client: fewer would not be so many
clients. Both servers have 8 sequences, so that more clients wait. In turns: each number of
clients is one round of ours and one of the peer's, which may have fewer rounds (it can be slow). Some answers are asked
for once more when nothing else runs, and have to be the same. Default: the shape of Qwen3-0.6B; the peer is there when
bench/peers.py finds it and --peer-model is given.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import qwen3edge
from bench.harness import Report, describe_machine, existing, main, positive
from bench.quiet import BenchError
from bench.server.clients import Reply, ask_all
from bench.server.process import Server, llama_server, own_server, why_no_llama
from bench.sessions import files
from bench.sessions.gaps import words
from bench.tables import Cell

CLIENTS = (1, 2, 4, 8, 16, 64)
SEQUENCES = 8
EACH = 4  # requests of a client, where they are not more than --requests
AGAIN = 2  # answers of a round that are asked for once more


@dataclass(frozen=True)
class Round:
    """Of one server with so many clients."""

    server: str
    clients: int
    seconds: float
    replies: list[Reply]
    peak_bytes: int

    @property
    def tokens_per_second(self) -> float:
        return sum(reply.tokens for reply in self.replies) / self.seconds

    def percentile(self, what: str, percent: float) -> float:
        """Of "first" or of "gap", in seconds."""
        if what == "first":
            return float(np.percentile([reply.first for reply in self.replies], percent))
        return float(np.percentile([gap for reply in self.replies for gap in reply.gaps], percent))


class Load:
    """The requests, and what servers make of them."""

    def __init__(self, model: Path, arguments: argparse.Namespace) -> None:
        with qwen3edge.load(model, context=256) as loaded:
            self._words, self._vocabulary = words(loaded), loaded.tokenizer.vocabulary_size
        self._most, self._count = arguments.requests, arguments.generate
        self._shortest, self._longest = arguments.prompt

    def bodies(self, clients: int, seed: int) -> list[dict[str, Any]]:
        """Others for each seed."""
        random = np.random.default_rng(seed)
        count = max(clients, min(self._most, EACH * clients))
        lengths = np.exp(random.uniform(np.log(self._shortest), np.log(self._longest), count)).astype(int)
        plain = {"temperature": 0, "ignore_eos": True, "max_tokens": self._count, "logit_bias": self._words}
        return [{"prompt": random.integers(0, self._vocabulary, n).tolist(), **plain} for n in lengths]

    def round(self, server: Server, clients: int, seed: int) -> Round:
        """Raises BenchError where an answer is not whole, or another one than alone."""
        bodies = self.bodies(clients, seed)
        began = perf_counter()
        replies = asyncio.run(ask_all(server.url, bodies, clients))
        seconds, peak = perf_counter() - began, server.peak_bytes()
        for reply in replies:
            if reply.tokens != self._count or len(reply.times) < self._count / 2:
                found = f"{reply.tokens} tokens in {len(reply.times)} pieces"
                raise BenchError(f"{server.name}: expected {self._count} tokens, each a piece, found {found}")
        alone = asyncio.run(ask_all(server.url, bodies[:AGAIN], 1))
        if server.name == "qwen3edge" and any(a.text != b.text for a, b in zip(alone, replies, strict=False)):
            raise BenchError(f"an answer beside {clients - 1} others has another text than alone")
        return Round(server.name, clients, seconds, replies, peak)


def bench(arguments: argparse.Namespace) -> Report:
    path = arguments.model or files.random_06b()
    load, rounds = Load(path, arguments), list[Round]()
    absent = why_no_llama(arguments.peer_model)
    context = arguments.prompt[1] + arguments.generate + 128
    with contextlib.ExitStack() as held:
        servers = [
            held.enter_context(own_server(path, threads=arguments.threads, context=context, sequences=SEQUENCES))
        ]
        if absent is None:
            peer = llama_server(arguments.peer_model, threads=arguments.threads, context=context, slots=SEQUENCES)
            servers.append(held.enter_context(peer))
        for server in servers:
            load.round(server, 1, seed=0)  # warms up
        for clients in arguments.clients:
            for server in servers if clients in (arguments.peer_clients or arguments.clients) else servers[:1]:
                rounds.append(load.round(server, clients, seed=clients))
                print(f"{server.name}, {clients} clients: {rounds[-1].seconds:.0f} s", file=sys.stderr)
    title = "prompts of {} to {} tokens, answers of {}".format(*arguments.prompt, arguments.generate)
    report = Report(title, describe_machine())
    report.accept("answers", True, "")
    for found in rounds:
        report.add("answers", **_cells(found, rounds))
    report.notes.append("of_peer: tokens a second and the longest gaps (p99), ours by llama-server's; peak: VmHWM")
    if absent is not None:
        report.notes.append(absent)
    if arguments.plot:
        plot(rounds, arguments.plot)
    return report


def _cells(found: Round, rounds: Sequence[Round]) -> dict[str, Cell]:
    peers = [each for each in rounds if each.clients == found.clients and each.server != found.server]
    ratios: dict[str, Cell] = {}
    if peers and found.server == "qwen3edge":
        ratios["of_peer"] = found.tokens_per_second / peers[0].tokens_per_second
        ratios["gap_of_peer"] = found.percentile("gap", 99) / peers[0].percentile("gap", 99)
    return {
        "server": found.server,
        "clients": found.clients,
        "requests": len(found.replies),
        "tokens_s": found.tokens_per_second,
        **{
            f"{what}_p{percent}_s": found.percentile(what, percent) for what in ("first", "gap") for percent in (50, 99)
        },
        "peak_MB": found.peak_bytes / 1e6,
        **ratios,
    }


def plot(rounds: Sequence[Round], path: Path) -> None:
    """Against the number of clients. Needs matplotlib."""
    import matplotlib  # noqa: PLC0415  (only who asks for a picture needs it)

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    figure, panels = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    for name in dict.fromkeys(each.server for each in rounds):
        own = [each for each in rounds if each.server == name]
        clients = [each.clients for each in own]
        panels[0].plot(clients, [each.tokens_per_second for each in own], marker="o", label=name)
        for panel, what in zip(panels[1:], ("first", "gap"), strict=True):
            for percent, line in ((50, "-"), (99, "--")):
                values = [each.percentile(what, percent) for each in own]
                panel.plot(clients, values, line, marker="o", label=f"{name}, p{percent}")
    titles = ("tokens a second, of all clients", "seconds to the first token", "seconds between two tokens")
    for panel, title in zip(panels, titles, strict=True):
        panel.set(title=title, xlabel="clients", xscale="log", yscale="linear" if panel is panels[0] else "log")
        panel.set_xticks(sorted({each.clients for each in rounds}), labels=sorted({each.clients for each in rounds}))
        panel.legend(fontsize="small")
    panels[0].set(ylim=(0, None))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=existing, help="a .q3e file")
    options.add_argument("--peer-model", type=existing, help="a .gguf file of the same checkpoint")
    options.add_argument("--clients", type=positive, nargs="+", default=list(CLIENTS))
    options.add_argument("--peer-clients", type=positive, nargs="+", help="rounds of the peer (default: all)")
    options.add_argument("--prompt", type=positive, nargs=2, default=[200, 2000], help="tokens, the least and the most")
    options.add_argument("--generate", type=positive, default=64, help="tokens of each answer")
    options.add_argument("--requests", type=positive, default=32, help="the most of a round, but one for each client")
    options.add_argument("--threads", type=positive, default=2)
    options.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the table, too")
    return options


if __name__ == "__main__":
    sys.exit(main(bench, parser()))
