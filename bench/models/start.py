"""From the start of a process to its first token, of a model that lies in the page cache.

    python -m bench.models.start --model X.q3e --peer-model X.gguf --rounds 7

Every sample is a fresh process, interleaved with the peer's. Ours says how its time divides: `python` until the script
runs, `import` of what `qwen3edge.load` needs, `load`, `tokens` (the prompt's text to ids), `first` (prefill, sampling,
and the libraries that load only now). The wall time of each process, its end included, is compared with that of the
peer, llama-completion, which loads, prefills a prompt of as many tokens, samples one token and ends.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.harness import Measured, Report, describe_machine, existing, main, positive, usable_threads
from bench.peers import LLAMA_COMPLETION, Finished, json_of, read_through, run

PARTS = ("python", "import", "load", "tokens", "first")
WORD = " hello"  # one token of Qwen's vocabulary, more of a small one

# Prints the parts in seconds, the prompt's tokens, their text and the sampled token. argv: path, text, the most tokens
# of it, threads, start.
PROGRAM = """
import time
marks = [time.clock_gettime(time.CLOCK_MONOTONIC)]
def mark():
    marks.append(time.clock_gettime(time.CLOCK_MONOTONIC))
import json, sys
import qwen3edge
load = qwen3edge.load
mark()
model = load(sys.argv[1], threads=int(sys.argv[4]))
mark()
ids = model.tokenizer.encode(sys.argv[2])[: int(sys.argv[3])]
mark()
answer = model.generate(ids, max_tokens=1, temperature=0, thinking=False)
answer.read()
mark()
spans = [after - before for before, after in zip([float(sys.argv[5]), *marks], marks)]
text = model.tokenizer.decode(ids)
print(json.dumps({"seconds": spans, "prompt": len(ids), "text": text, "token": answer.tokens[0]}))
"""


@dataclass(frozen=True)
class Start:
    """One process of ours."""

    process: Finished
    seconds: list[float]  # of PARTS
    prompt: int  # tokens
    text: str  # of the prompt
    token: int


def own_start(model: Path, text: str, most: int, threads: int) -> Start:
    """most: tokens of the text that it reads."""
    command = [sys.executable, "-c", PROGRAM, model, text, str(most), str(threads)]
    finished = run([*command, repr(time.clock_gettime(time.CLOCK_MONOTONIC))])
    return Start(finished, **json_of(finished, "the start of qwen3edge"))


def peer_command(text: str, model: Path, threads: int) -> list[object]:
    """Raises BenchError where it is absent."""
    options = ["-p", text, "-n", "1", "-t", str(threads), "-no-cnv", "--no-warmup", "--temp", "0", "-c", "4096"]
    return [LLAMA_COMPLETION.path(), "-m", model, *options]


def bench(arguments: argparse.Namespace) -> Report:
    report = Report(f"Process start to first token, {arguments.prompt} prompt tokens", describe_machine())
    threads, text = usable_threads(arguments.threads), WORD * arguments.prompt
    for path in filter(None, (arguments.model, arguments.peer_model)):
        read_through(path)
    first = own_start(arguments.model, text, arguments.prompt, threads)  # the first start: compiles Python's files
    has_peer = arguments.peer_model is not None and LLAMA_COMPLETION.find() is not None
    peer = peer_command(first.text, arguments.peer_model, threads) if has_peer else []
    ours: list[Start] = []
    theirs: list[Finished] = []
    for number in range(arguments.rounds):
        ours.append(own_start(arguments.model, text, arguments.prompt, threads))
        theirs += [run(peer)] if has_peer else []
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
    lengths, tokens = {start.prompt for start in ours}, {start.token for start in ours}
    report.accept(
        "start",
        lengths == {arguments.prompt} and len(tokens) == 1,
        f"expected a prompt of {arguments.prompt} tokens and one first token, found {lengths} and {tokens}",
    )

    def milliseconds(values: Iterable[float]) -> Measured:
        return Measured("start", "ms", tuple(1e3 * value for value in values))

    for part, *spans in zip(PARTS, *(start.seconds for start in ours), strict=True):
        report.add("start", what=part, ms=milliseconds(spans).text())
    report.add("start", what="to the first token", ms=milliseconds(sum(start.seconds) for start in ours).text())
    wall, peak = milliseconds(s.process.seconds for s in ours), max(s.process.peak_bytes for s in ours)
    report.add("start", what="process, qwen3edge", ms=wall.text(), peak_MB=peak / 1e6)
    if has_peer:
        other, peak = milliseconds(done.seconds for done in theirs), max(done.peak_bytes for done in theirs)
        ratio = f"{other.ratio_to(wall).text()} x"
        report.add("start", what="process, llama-completion", ms=other.text(), peak_MB=peak / 1e6, ours=ratio)
    elif arguments.peer_model:
        report.notes.append(LLAMA_COMPLETION.absent())
    report.notes.append(f"medians of {arguments.rounds} processes (smallest to largest), {threads} threads")
    return report


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=existing, required=True, help="a .q3e file")
    options.add_argument("--peer-model", type=existing, help="a .gguf file of the same shape")
    options.add_argument("--prompt", type=positive, default=32, help="tokens")
    options.add_argument("--threads", type=positive, help="default: as many as the process may use")
    options.add_argument("--rounds", type=positive, default=7)
    return options


if __name__ == "__main__":
    sys.exit(main(bench, parser()))
