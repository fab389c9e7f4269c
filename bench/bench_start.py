"""From the start of a process to its first token, of a model that lies in the page cache.

python bench/bench_start.py --model X.q3e --peer-model X.gguf --rounds 7

Every sample is a fresh process, interleaved with the peer's. Ours says how its time divides: `python` until the script
runs, `import` of what `qwen3edge.load` needs, `load`, `tokens` (the prompt's text to ids), `first` (prefill, sampling,
and the libraries that load only now). The wall time of each process, its end included, is compared with that of the
peer, a program that loads, prefills a prompt of as many tokens, samples one token and ends.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from harness import Measured, Report, describe_machine, main, positive, usable_threads
from peers import Tool, run

LLAMA_SIMPLE = Tool("llama.cpp", "llama-simple", "QWEN3EDGE_LLAMA_SIMPLE")
LLAMA_COMPLETION = Tool("llama.cpp", "llama-completion", "QWEN3EDGE_LLAMA_COMPLETION")
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


def own_sample(model: Path, text: str, most: int, threads: int) -> dict[str, object]:
    """One process of ours: its parts and its wall time. most: tokens of the text that it reads."""
    command = [sys.executable, "-c", PROGRAM, model, text, str(most), str(threads)]
    finished = run([*command, repr(time.clock_gettime(time.CLOCK_MONOTONIC))])
    result: dict[str, object] = json.loads(finished.stdout)
    return result | {"wall": finished.seconds, "peak_bytes": finished.peak_bytes}


def peer_command(text: str, model: Path, threads: int) -> tuple[str, list[str | Path]] | None:
    """llama-completion, which takes a number of threads, before llama-simple; beside llama-bench if nowhere else."""
    found = {
        tool.program: tool.find() or _beside_llama_bench(tool.program) for tool in (LLAMA_COMPLETION, LLAMA_SIMPLE)
    }
    if program := found[LLAMA_COMPLETION.program]:
        options = ["-p", text, "-n", "1", "-t", str(threads), "-no-cnv", "--no-warmup", "--temp", "0", "-c", "4096"]
        return program.name, [program, "-m", model, *options]
    if program := found[LLAMA_SIMPLE.program]:
        return program.name, [program, "-m", model, "-n", "1", text]
    return None


def _beside_llama_bench(program: str) -> Path | None:
    named = os.environ.get("QWEN3EDGE_LLAMA_BENCH")
    path = Path(named).expanduser().parent / program if named else None
    return path if path is not None and path.is_file() else None


def warm(path: Path) -> None:
    """Reads a file into the page cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 22):
            pass


def bench(arguments: argparse.Namespace) -> Report:
    report = Report(f"Process start to first token, {arguments.prompt} prompt tokens", describe_machine())
    threads = usable_threads(arguments.threads)
    text = WORD * arguments.prompt
    for path in (arguments.model, arguments.peer_model):
        if path is not None:
            warm(path)
    ours: list[dict[str, object]] = []
    theirs: list[float] = []
    peaks: list[int] = []
    first = own_sample(arguments.model, text, arguments.prompt, threads)  # the first start: compiles Python's files
    peer = peer_command(str(first["text"]), arguments.peer_model, threads) if arguments.peer_model else None
    for number in range(arguments.rounds):
        ours.append(own_sample(arguments.model, text, arguments.prompt, threads))
        if peer:
            finished = run(peer[1])
            theirs.append(finished.seconds)
            peaks.append(finished.peak_bytes)
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
    lengths, tokens = {sample["prompt"] for sample in ours}, {sample["token"] for sample in ours}
    report.accept(
        "start",
        lengths == {arguments.prompt} and len(tokens) == 1,
        f"expected a prompt of {arguments.prompt} tokens and one first token, found {lengths} and {tokens}",
    )

    def milliseconds(name: str, values: list[float]) -> Measured:
        return Measured(name, "ms", tuple(1e3 * value for value in values))

    spans = {part: [sample["seconds"][i] for sample in ours] for i, part in enumerate(PARTS)}  # type: ignore[index]
    for part in PARTS:
        report.add("start", what=part, ms=milliseconds(part, spans[part]).text())
    totals = [sum(sample["seconds"]) for sample in ours]  # type: ignore[call-overload]
    report.add("start", what="to the first token", ms=milliseconds("total", totals).text())
    wall = milliseconds("qwen3edge", [float(sample["wall"]) for sample in ours])  # type: ignore[arg-type]
    own_peak = max(int(sample["peak_bytes"]) for sample in ours)  # type: ignore[call-overload]
    report.add("start", what="process, qwen3edge", ms=wall.text(), peak_MB=own_peak / 1e6)
    if peer:
        other = milliseconds("peer", theirs)
        ratio = other.ratio_to(wall).text()
        report.add("start", what=f"process, {peer[0]}", ms=other.text(), peak_MB=max(peaks) / 1e6, ours=f"{ratio} x")
    elif arguments.peer_model:
        report.notes += [LLAMA_COMPLETION.absent(), LLAMA_SIMPLE.absent()]
    report.notes.append(f"medians of {arguments.rounds} processes (smallest to largest), {threads} threads")
    return report


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=Path, required=True, help="a .q3e file")
    options.add_argument("--peer-model", type=Path, help="a .gguf file of the same shape")
    options.add_argument("--prompt", type=positive, default=32, help="tokens")
    options.add_argument("--threads", type=positive, help="default: as many as the process may use")
    options.add_argument("--rounds", type=positive, default=7)
    try:
        sys.exit(main(bench, options))
    except OSError as failure:
        sys.exit(f"bench_start.py: {failure}")
