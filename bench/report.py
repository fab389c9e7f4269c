"""Runs the benches one after the other and writes docs/bench.md: what `make bench` does.

python bench/report.py [--source FOLDER] [--work build/bench] [--quick]

Without --source it makes a checkpoint of Qwen3-0.6B's shape with random weights. Peers that bench/peers.py finds are
given the same checkpoint; absent ones are named in the tables. Figures of a busy machine are marked as such.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import BenchError, Limits, Machine, Report
from peers import (
    LLAMA_BENCH,
    LLAMA_CONVERT,
    LLAMA_QUANTIZE,
    llama_convert_command,
    llama_quantize_command,
    own_command,
    run,
)

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
BUSY = 0.5  # load average
PEER_KIND = {"int4": "Q4_0", "int8": "Q8_0"}


@dataclass(frozen=True)
class Step:
    script: str  # of bench/
    options: tuple[str, ...] = ()

    def command(self) -> str:
        return " ".join(["python", f"bench/{self.script}", *self.options])

    def run(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(run([sys.executable, BENCH / self.script, *self.options, "--json"]).stdout)
        return result


SMALL, LARGE = ("--size", "0.6B"), ("--size", "4B")
KERNELS = (
    Step("bench_matmul.py", (*SMALL, *LARGE, "--tokens", "1")),
    Step("bench_matmul.py", (*LARGE, "--format", "q4z32", "--tokens", "8", "--tokens", "32", "--tokens", "512")),
    Step("bench_norm.py"),
    Step("bench_rope.py"),
    Step("bench_attention.py"),
    Step("bench_silu.py"),
    Step("bench_sample.py"),
)
QUICK = ("--rounds", "1", "--seconds", "0.02")


def make_checkpoint(work: Path) -> Path:
    """Qwen3-0.6B's shape with random weights and the real tokenizer, which peers insist on; kept from run to run."""
    folder, tokenizer = work / "qwen3-0.6b-random", ROOT / ".cache" / "qwen3-tokenizer"
    if not any(folder.glob("*.safetensors")):
        run([sys.executable, ROOT / "tests" / "fetch_tokenizer.py"])
        kind = tokenizer if (tokenizer / "tokenizer.json").is_file() else "bytes"
        words: list[str | Path] = ["--shape", "0.6B", "--to", "hf", folder, "--tokenizer", kind]
        run([sys.executable, ROOT / "scripts" / "make_random.py", *words])
    return folder


def make_models(source: Path, work: Path, quant: str) -> tuple[Path, list[Path]]:
    """Our file, and llama.cpp's when its tools are here."""
    own = work / f"{source.name}-{quant}.q3e"
    run(own_command("convert", source, own, "--quant", quant, "--quiet"))
    if not all(tool.find() for tool in (LLAMA_BENCH, LLAMA_CONVERT, LLAMA_QUANTIZE)):
        return own, []
    half, peer = work / f"{source.name}-bf16.gguf", work / f"{source.name}-{PEER_KIND[quant]}.gguf"
    if not peer.is_file():
        run(llama_convert_command(source, half))
        run(llama_quantize_command(half, peer, PEER_KIND[quant], threads=2))
        half.unlink()
    return own, [peer]


def model_steps(source: Path, work: Path, quick: bool) -> list[Step]:
    rounds = ("--rounds", "1" if quick else "5")
    steps = [
        Step("bench_convert.py", ("--source", str(source), "--work", str(work), "--rounds", "1" if quick else "3"))
    ]
    for quant in PEER_KIND:
        own, peers = make_models(source, work, quant)
        words = ["--model", str(own), *(word for peer in peers for word in ("--peer-model", str(peer)))]
        steps.append(Step("bench_model.py", (*words, "--prompt", "512", "--generate", "64", *rounds)))
        if quant == "int4" and not quick:
            steps.append(Step("bench_model.py", (*words, "--prompt", "4096", "--generate", "64", "--rounds", "3")))
    return steps


def section(step: Step, result: dict[str, Any], work: Path) -> str:
    report = Report(result["title"], rows=result["rows"], notes=result["notes"])
    command = step.command().replace(str(work), "build/bench")
    return "\n".join([report.markdown(), "", f"`{command}`"])


def page(machine: dict[str, Any], limits: list[dict[str, Any]], sections: list[str]) -> str:
    """The whole of docs/bench.md. Limits are those of the first bench that measured with most threads."""
    described = Machine(**machine)
    widest = max(limits, key=lambda limit: int(limit["threads"]))
    measured = Limits(widest["read_bytes_per_second"], widest["int8_operations_per_second"], widest["threads"])
    busy = f"\n\n**The machine was busy (load {described.load_average:.2f}): these figures are not to be trusted.**"
    head = [
        "# Benchmarks",
        "",
        "Written by `make bench`. Every bench measures the machine, compares its result, then times.",
        "",
        f"{described.line()}",
        "",
        *(f"- {line}" for line in measured.lines()),
    ]
    note = busy if described.load_average > BUSY else ""
    return "\n".join(head) + note + "\n\n" + "\n\n".join(sections) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="a Hugging Face folder (default: random weights, 0.6B)")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench", help="for models (default: build/bench)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "bench.md")
    parser.add_argument("--quick", action="store_true", help="one short round of each, to see that they run")
    arguments = parser.parse_args()
    for folder in (arguments.work, arguments.out.parent):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        steps = [Step(s.script, (*s.options, *(QUICK if arguments.quick else ()))) for s in KERNELS]
        steps += model_steps(arguments.source or make_checkpoint(arguments.work), arguments.work, arguments.quick)
    except BenchError as error:
        print(f"report.py: {error}", file=sys.stderr)
        return 1
    results, sections, failed = [], [], 0
    for step in steps:
        print(step.command(), file=sys.stderr)
        try:
            result = step.run()
        except BenchError as error:  # the others are still worth having
            print(f"report.py: {error}", file=sys.stderr)
            sections.append(f"## {step.script}\n\n**No result:** {error}")
            failed += 1
            continue
        results.append(result)
        sections.append(section(step, result, arguments.work))
        (arguments.work / "results.json").write_text(json.dumps(results))
    if not results:
        return 1
    limits = [result["limits"] for result in results if result["limits"]]
    arguments.out.write_text(page(results[0]["machine"], limits, sections))
    print(f"wrote {arguments.out}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
