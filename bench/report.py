"""Runs the benches one after the other, writes build/bench.md and draws build/roofline.png: what `make bench` does.

python bench/report.py [--source FOLDER] [--work build/bench] [--openvino FOLDER] [--quick]

Without --source it makes a checkpoint of Qwen3-0.6B's shape with random weights, and always a file of 4B's shape; they
are kept in --work. llama.cpp, when bench/peers.py finds its tools, is given the same checkpoint; absent peers are named
in the tables. A busy machine is waited for, then refused: --busy-anyway writes to --work instead. Some
twenty minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import BenchError, Limits, Machine, Report
from peers import (
    LLAMA_CONVERT,
    LLAMA_QUANTIZE,
    llama_convert_command,
    llama_quantize_command,
    own_command,
    run,
)
from quiet import BusyMachineError, add_busy_option, wait_for_quiet

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
DOCS = ROOT / "docs"
BUSY_ANYWAY = "--busy-anyway"
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
ONE, MANY = ("--tokens", "1"), ("--tokens", "8", "--tokens", "32", "--tokens", "512")
GROUPS = tuple(word for name in ("q4z64", "q4g32", "q4g64", "q4g128", "q8g32") for word in ("--format", name))
KERNELS = (
    Step("bench_matmul.py", (*SMALL, *LARGE, *ONE)),
    Step("bench_matmul.py", (*LARGE, *MANY)),
    Step("bench_matmul.py", (*LARGE, *GROUPS, *ONE, "--tokens", "512", "--rounds", "1")),
    Step("bench_small.py", ("norm",)),
    Step("bench_small.py", ("rope",)),
    Step("bench_attention.py"),
    Step("bench_small.py", ("silu",)),
    Step("bench_small.py", ("sample",)),
    Step("bench_small.py", ("barrier",)),
)
QUICK = ("--rounds", "1", "--seconds", "0.02")
QUICK_SCENES = ("--scene", "short", "--scene", "gemm", "--scene", "threads")


def make_checkpoint(work: Path) -> Path:
    """Qwen3-0.6B's shape with random weights and the real tokenizer, which peers insist on; kept from run to run."""
    folder, tokenizer = work / "qwen3-0.6b-random", ROOT / ".cache" / "qwen3-tokenizer"
    if not any(folder.glob("*.safetensors")):
        run([sys.executable, ROOT / "tests" / "fetch_tokenizer.py"])
        kind = tokenizer if (tokenizer / "tokenizer.json").is_file() else "bytes"
        words: list[str | Path] = ["--shape", "0.6B", "--to", "hf", folder, "--tokenizer", kind]
        run([sys.executable, ROOT / "scripts" / "make_random.py", *words])
    return folder


def make_own(source: Path, work: Path, quant: str) -> Path:
    own = work / f"{source.name}-{quant}.q3e"
    run(own_command("convert", source, own, "--quant", quant, "--quiet"))
    return own


def make_large(work: Path) -> Path:
    """4B's shape in int4, random; some minutes, so it is kept."""
    large = work / "4b-random-int4.q3e"
    if not large.is_file():
        words: list[str | Path] = ["--shape", "4B", "--to", "q3e", large, "--quant", "int4", "--tokenizer", "none"]
        run([sys.executable, ROOT / "scripts" / "make_random.py", *words])
    return large


def make_peer(source: Path, work: Path, quant: str) -> Path | None:
    """llama.cpp's file of the same checkpoint, when its tools are here."""
    if not all(tool.find() for tool in (LLAMA_CONVERT, LLAMA_QUANTIZE)):
        return None
    half, peer = work / f"{source.name}-bf16.gguf", work / f"{source.name}-{PEER_KIND[quant]}.gguf"
    if not peer.is_file():
        run(llama_convert_command(source, half))
        run(llama_quantize_command(half, peer, PEER_KIND[quant], threads=2))
        half.unlink()
    return peer


def model_steps(source: Path, work: Path, openvino: Path | None, quick: bool) -> list[Step]:
    """The converter, the table of targets, and whatever other bench of whole models is there."""
    rounds = ("--rounds", "1" if quick else "3")
    given = {
        "--model": make_own(source, work, "int4"),
        "--int8": make_own(source, work, "int8"),
        "--large": None if quick else make_large(work),
        "--peer-model": make_peer(source, work, "int4"),
        "--peer-int8": make_peer(source, work, "int8"),
        "--openvino": openvino,
    }
    words = [word for option, path in given.items() if path is not None for word in (option, str(path))]
    return [
        Step("bench_convert.py", ("--source", str(source), "--work", str(work), *rounds)),
        Step("bench_model.py", ("--table", *words, *rounds, *(QUICK_SCENES if quick else ()))),
    ]


def section(step: Step, result: dict[str, Any], work: Path) -> str:
    report = Report(result["title"], rows=result["rows"], notes=result["notes"], details=result.get("details", []))
    words = step.command().replace(str(work), "build/bench").split(" ")
    command = " ".join(Path(word).name if Path(word).is_absolute() else word for word in words)
    return "\n".join([report.markdown(), "", f"`{command}`"])


def page(machine: dict[str, Any], limits: list[dict[str, Any]], sections: list[str], plot: str = "") -> str:
    """The whole page. Limits are those of the first bench that measured with most threads.

    plot: the picture's name, beside the page.
    """
    described = Machine(**machine)
    widest = max(limits, key=lambda limit: int(limit["threads"]))
    measured = Limits(widest["read_bytes_per_second"], widest["int8_operations_per_second"], widest["threads"])
    head = [
        "# Benchmarks",
        "",
        "Written by `make bench`. Every bench waits for a quiet machine, measures it, compares its result, then times.",
        "A ratio is that of the two medians beside it; the span behind it is that of the rounds.",
        "",
        f"{described.line()}",
        "",
        *(f"- {line}" for line in measured.lines()),
    ]
    picture = f"\n\n![Roofline]({plot})" if plot else ""
    return "\n".join(head) + picture + "\n\n" + "\n\n".join(sections) + "\n"


def plot_roofline(results: Path, target: Path) -> str:
    """Draws it; returns "", or why there is no picture. In a child: the rest of bench/ needs no matplotlib."""
    try:
        run([sys.executable, BENCH / "plot_roofline.py", results, target])
    except BenchError as error:
        return f"no {target.name}: {error}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="a Hugging Face folder (default: random weights, 0.6B)")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench", help="for models (default: build/bench)")
    parser.add_argument("--out", type=Path, help="(default: build/bench.md; with --busy-anyway, bench.md in --work)")
    exported = os.environ.get("QWEN3EDGE_OPENVINO_MODEL")
    parser.add_argument(
        "--openvino",
        type=Path,
        default=Path(exported) if exported else None,
        help="a folder that optimum-cli exported from the same checkpoint (default: QWEN3EDGE_OPENVINO_MODEL)",
    )
    parser.add_argument("--quick", action="store_true", help="one short round of each, to see that they run")
    add_busy_option(parser)
    arguments = parser.parse_args()
    out: Path = arguments.out or (arguments.work if arguments.busy_anyway else ROOT / "build") / "bench.md"
    for folder in (arguments.work, out.parent):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        if not arguments.busy_anyway:
            wait_for_quiet()
        elif out.resolve().is_relative_to(DOCS):
            raise BenchError(f"{BUSY_ANYWAY}: expected --out outside docs/, which holds a quiet machine's figures only")
        steps = [Step(s.script, (*s.options, *(QUICK if arguments.quick else ()))) for s in KERNELS]
        source = arguments.source or make_checkpoint(arguments.work)
        # The targets come first on the page.
        steps = [*reversed(model_steps(source, arguments.work, arguments.openvino, arguments.quick)), *steps]
        if arguments.busy_anyway:
            steps = [Step(step.script, (*step.options, BUSY_ANYWAY)) for step in steps]
    except BenchError as error:
        print(f"report.py: {error}", file=sys.stderr)
        return 1
    results, sections, failed = [], [], 0
    for step in steps:
        print(step.command(), file=sys.stderr)
        try:
            result = step.run()
        except BenchError as error:  # the others are still worth having
            if BusyMachineError.WORDS in str(error):
                print(f"report.py: {error}; {out} stays as it is", file=sys.stderr)
                return 1
            print(f"report.py: {error}", file=sys.stderr)
            sections.append(f"## {step.command()}\n\n**No result:** {error}")
            failed += 1
            continue
        results.append(result)
        sections.append(section(step, result, arguments.work))
        (arguments.work / "results.json").write_text(json.dumps(results))
    if not results:
        return 1
    limits = [result["limits"] for result in results if result["limits"]]
    plot = out.parent / "roofline.png"
    missing = plot_roofline(arguments.work / "results.json", plot)
    if missing:
        print(f"report.py: {missing}", file=sys.stderr)
    text = page(results[0]["machine"], limits, sections, "" if missing else plot.name)
    out.write_text(text)
    print(f"wrote {out}", file=sys.stderr)
    return 1 if failed or missing else 0


if __name__ == "__main__":
    sys.exit(main())
