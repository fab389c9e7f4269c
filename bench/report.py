"""Runs the benches one after the other and writes build/bench.md: what `make bench` does.

    python -m bench.report [--source FOLDER] [--work build/bench] [--openvino FOLDER] [--quick]

Without --source it makes a checkpoint of Qwen3-0.6B's shape with random weights, and always a file of 4B's shape; they
are kept in --work. llama.cpp, when bench/peers.py finds its tools, is given the same checkpoint; absent peers are named
in the tables. A busy machine is waited for, then refused: --busy-anyway writes to --work instead. Some
twenty minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import peers
from bench.harness import Limits, Report
from bench.quiet import BenchError, BusyMachineError, add_busy_option, wait_for_quiet

BUILD = peers.ROOT / "build"
BUSY_ANYWAY = "--busy-anyway"


@dataclass(frozen=True)
class Step:
    module: str  # of bench/
    options: tuple[str, ...] = ()

    def command(self) -> str:
        return " ".join(["python", "-m", f"bench.{self.module}", *self.options])

    def run(self) -> dict[str, Any]:
        return peers.json_of(peers.run_bench(self.module, *self.options, "--json"), self.command())


GROUPS = "--format q4z64 --format q4g32 --format q4g64 --format q4g128 --format q8g32"
KERNELS = tuple(
    Step("kernels", tuple(words.split()))
    for words in (
        "matmul --size 0.6B --size 4B --tokens 1",
        "matmul --size 4B --tokens 8 --tokens 32 --tokens 512",
        f"matmul --size 4B {GROUPS} --tokens 1 --tokens 512 --rounds 1",
        *("norm", "rope", "attention", "delta", "silu", "sample", "barrier"),
    )
)
QUICK = ("--rounds", "1", "--seconds", "0.02")
QUICK_SCENES = ("--scene", "short", "--scene", "gemm")


def make_random(*words: object) -> None:
    peers.run([sys.executable, peers.ROOT / "scripts" / "make_random.py", *words])


def make_checkpoint(work: Path) -> Path:
    """Qwen3-0.6B's shape with random weights and the real tokenizer, which peers insist on; kept from run to run."""
    folder, tokenizer = work / "qwen3-0.6b-random", peers.ROOT / ".cache" / "qwen3-tokenizer"
    if not any(folder.glob("*.safetensors")):
        peers.run([sys.executable, peers.ROOT / "tests" / "fetch_tokenizer.py"])
        kind = tokenizer if (tokenizer / "tokenizer.json").is_file() else "bytes"
        make_random("--shape", "0.6B", "--to", "hf", folder, "--tokenizer", kind)
    return folder


def make_shape(work: Path, shape: str) -> Path:
    """A `.q3e` file of it in int4, random, without a tokenizer; large ones take minutes, so it is kept."""
    path = work / f"{shape.lower()}-random-int4.q3e"
    if not path.is_file():
        make_random("--shape", shape, "--to", "q3e", path, "--quant", "int4", "--tokenizer", "none")
    return path


def make_own(source: Path, work: Path, quant: str) -> Path:
    own = work / f"{source.name}-{quant}.q3e"
    peers.run(peers.own_command("convert", source, own, "--quant", quant, "--quiet"))
    return own


def make_peer(source: Path, work: Path, quant: str) -> Path | None:
    """llama.cpp's file of the same checkpoint, when its tools are here; kept."""
    if not all(tool.find() for tool in (peers.LLAMA_CONVERT, peers.LLAMA_QUANTIZE)):
        return None
    half, peer = work / f"{source.name}-bf16.gguf", work / f"{source.name}-{peers.QUANTIZED[quant]}.gguf"
    if not peer.is_file():
        peers.run(peers.llama_convert_command(source, half))
        peers.run(peers.llama_quantize_command(half, peer, peers.QUANTIZED[quant], threads=2))
        half.unlink()
    return peer


def model_steps(source: Path, work: Path, openvino: Path | None, quick: bool) -> list[Step]:
    """The table of targets, which comes first on the page, and the converter."""
    given = {
        "--model": make_own(source, work, "int4"),
        "--int8": make_own(source, work, "int8"),
        "--large": None if quick else make_shape(work, "4B"),
        "--peer-model": make_peer(source, work, "int4"),
        "--peer-int8": make_peer(source, work, "int8"),
        "--openvino": openvino,
    }
    words = [word for option, path in given.items() if path is not None for word in (option, str(path))]
    rounds = ("--rounds", "1" if quick else "3")
    return [
        Step("models.targets", (*words, *rounds, *(QUICK_SCENES if quick else ()))),
        Step("models.convert", ("--source", str(source), "--work", str(work), *rounds)),
    ]


def section(step: Step, result: dict[str, Any], work: Path) -> str:
    """A bench's tables, and its command without the folders of this machine."""
    report = Report(result["title"], rows=result["rows"], notes=result["notes"], details=result["details"])
    words = step.command().replace(str(work), "build/bench").split(" ")
    command = " ".join(Path(word).name if Path(word).is_absolute() else word for word in words)
    return f"{report.markdown()}\n\n`{command}`"


def page(results: Sequence[dict[str, Any]], sections: Sequence[str]) -> str:
    """The whole page. Limits are those of the first bench that measured with most threads."""
    widest = max(filter(None, (result["limits"] for result in results)), key=lambda limits: int(limits["threads"]))
    parts = [
        "# Benchmarks",
        "Written by `make bench`. Every bench waits for a quiet machine, measures it, compares its result, then "
        "times. A ratio is that of the two medians beside it; the span behind it is that of the rounds.",
        results[0]["machine"],
        "\n".join(f"- {line}" for line in Limits(**widest).lines()),
    ]
    return "\n\n".join([*parts, *sections]) + "\n"


def prepare(arguments: argparse.Namespace, out: Path) -> list[Step]:
    """Waits for a quiet machine and makes what the steps need. Raises BenchError."""
    if not arguments.busy_anyway:
        wait_for_quiet()
    elif out.resolve().is_relative_to(peers.ROOT / "docs"):
        raise BenchError(f"{BUSY_ANYWAY}: expected --out outside docs/, which holds a quiet machine's figures only")
    source = arguments.source or make_checkpoint(arguments.work)
    steps = model_steps(source, arguments.work, arguments.openvino, arguments.quick)
    steps += [Step(step.module, (*step.options, *(QUICK if arguments.quick else ()))) for step in KERNELS]
    return [Step(step.module, (*step.options, *([BUSY_ANYWAY] if arguments.busy_anyway else ()))) for step in steps]


def write(steps: Sequence[Step], work: Path, out: Path) -> bool:
    """Runs them all and writes the page; whether all had a result. Raises BusyMachineError, which leaves the page."""
    results, sections = [], []
    for step in steps:
        print(step.command(), file=sys.stderr)
        try:
            results.append(step.run())
            sections.append(section(step, results[-1], work))
        except BenchError as error:  # the others are still worth having
            if BusyMachineError.WORDS in str(error):
                raise BusyMachineError(f"{error}; {out} stays as it is") from error
            print(f"report.py: {error}", file=sys.stderr)
            sections.append(f"## {step.command()}\n\n**No result:** {error}")
    if results:
        out.write_text(page(results, sections))
        print(f"wrote {out}", file=sys.stderr)
    return len(results) == len(steps)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="a Hugging Face folder (default: random weights, 0.6B)")
    parser.add_argument("--work", type=Path, default=BUILD / "bench", help="for models (default: build/bench)")
    parser.add_argument("--out", type=Path, help="(default: build/bench.md; with --busy-anyway, bench.md in --work)")
    exported = os.environ.get("QWEN3EDGE_OPENVINO_MODEL")
    helped = "a folder that optimum-cli exported from the same checkpoint (default: QWEN3EDGE_OPENVINO_MODEL)"
    parser.add_argument("--openvino", type=Path, default=Path(exported) if exported else None, help=helped)
    parser.add_argument("--quick", action="store_true", help="one short round of each, to see that they run")
    add_busy_option(parser)
    arguments = parser.parse_args()
    out: Path = arguments.out or (arguments.work if arguments.busy_anyway else BUILD) / "bench.md"
    for folder in (arguments.work, out.parent):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        return int(not write(prepare(arguments, out), arguments.work, out))
    except BenchError as error:
        print(f"report.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
