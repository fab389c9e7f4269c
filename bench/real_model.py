"""What quantization costs a trained model, beside llama.cpp on the same file: `make real`.

    python bench/real_model.py [--model FILE.gguf] [--markdown docs/decisions/real-model.md]
    python bench/real_model.py --model tests/data/tiny-qwen3 --text tests/data/tiny-qwen3/heldout.jsonl --recipe int4

The model is dequantized to bf16 once; that, with an f32 KV cache, is what every line is held against, and what every
quantized file is made of, ours and llama-quantize's. Weights alone: dequantized, in one float32 graph. Activations
alone: unquantized weights in transformers, rounded as the engine does. As run: by the engine, or by llama.cpp, with an
f32 cache. The text is the first 1,536 tokens of tests/data/real-text.txt in windows of 512, or of items each with its
answer; then "answers" is the share that is right, greedily with an int8 cache. bench/peers.py says how llama.cpp is
found; without it its lines say absent.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for who runs it by its path

from bench.peers import LLAMA_CPP_PYTHON, LLAMA_QUANTIZE, ROOT
from bench.quality.study import WINDOW, Study
from bench.quiet import BenchError
from bench.tables import Cell, markdown_table, table, write_between
from qwen3edge.convert import RECIPES
from qwen3edge.errors import Qwen3EdgeError
from qwen3edge.evaluate.scores import Scores
from qwen3edge.evaluate.tasks import accuracy_by_task, run_items
from qwen3edge.evaluate.texts import read_records
from tests.real_file import FOLDER, FetchError, fetch

TEXT = ROOT / "tests" / "data" / "real-text.txt"
OURS, THEIRS = ("int8", "int6", "int4"), ("Q8_0", "Q4_0")
CACHES, THEIR_CACHES = ("bf16", "int8", "int4"), ("f32", "q8_0")
MARKS = ("<!-- real model: begin -->", "<!-- real model: end -->")
WEIGHTS, ACTIVATIONS, AS_RUN, CACHE = "weights alone", "activations alone", "as run", "KV cache alone"


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    part: str  # which of the costs
    what: str
    nbytes: int | None  # of the file, where its size belongs to the cost
    scores: Scores

    def cells(self) -> dict[str, Cell]:
        first: dict[str, Cell] = {
            "cost of": self.part,
            "in": self.what,
            "MB": None if self.nbytes is None else f"{self.nbytes / 1e6:.1f}",
        }
        found = self.scores.summary()
        return first | {
            "perplexity": f"{found['perplexity']:.3f}",
            "mean KL": f"{found['kl']:.5f}",
            "median": f"{found['kl_median']:.5f}",
            "99 %": f"{found['kl_99']:.4f}",
            "top-1": f"{100 * found['top1']:.1f} %",
        }


def weights_alone(study: Study, recipes: Sequence[str], has_llama: bool) -> Iterator[Row]:
    """Dequantized into one float32 graph."""
    for name, path in _files(study, recipes, has_llama):
        yield Row(WEIGHTS, name, path.stat().st_size, study.scores(study.weights_alone(path)))


def activations_alone(study: Study, recipes: Sequence[str]) -> Iterator[Row]:
    """Unquantized weights; every matrix's input rounded as the engine rounds it for the recipe's format."""
    for recipe in recipes:
        yield Row(ACTIVATIONS, recipe, None, study.scores(study.activations_alone(study.ours(recipe))))


def as_run(study: Study, recipes: Sequence[str], has_llama: bool) -> Iterator[Row]:
    """With an f32 cache, each by its own program."""
    for name, path in _files(study, recipes, has_llama):
        logits = study.llama(path) if path.suffix == ".gguf" else study.engine(path)
        yield Row(AS_RUN, name, path.stat().st_size, study.scores(logits))


def _files(study: Study, recipes: Sequence[str], has_llama: bool) -> Iterator[tuple[str, Path]]:
    yield from ((recipe, study.ours(recipe)) for recipe in recipes)
    yield from ((f"llama.cpp {kind}", study.theirs(kind)) for kind in THEIRS if has_llama)


def caches_alone(study: Study, has_llama: bool) -> Iterator[Row]:
    """Of the unquantized weights. llama.cpp's f32 cache shows how far the two programs are from each other."""
    for kv in CACHES:
        yield Row(CACHE, kv, None, study.scores(study.engine(study.exact, kv)))
    for kv in THEIR_CACHES if has_llama else ():
        yield Row(CACHE, f"llama.cpp {kv}", None, study.scores(study.llama(study.base, kv)))


def measure(study: Study, recipes: Sequence[str], has_llama: bool) -> Iterator[Row]:
    """All lines, as they are done."""
    yield Row("nothing", "bf16, f32 cache", study.exact.stat().st_size, study.scores(study.reference))
    yield from weights_alone(study, recipes, has_llama)
    yield from activations_alone(study, recipes)
    yield from as_run(study, recipes, has_llama)
    yield from caches_alone(study, has_llama)


def answers(study: Study, items: Path, recipe: str) -> dict[str, Cell]:
    """The share of the items that are answered right, in per cent."""
    kv = "bf16" if recipe == "bf16" else "int8"
    with study.load(study.ours(recipe), kv, more=WINDOW) as model:
        right = accuracy_by_task(run_items(model, read_records(items)))["all"]["accuracy"]
    return {"cost of": f"{recipe} with an {kv} cache", "answers": f"{100 * right:.1f} %"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a GGUF file or a folder (default: the public one, fetched)")
    parser.add_argument("--text", type=Path, default=TEXT, help="a text, or .jsonl of items (%(default)s)")
    parser.add_argument("--recipe", action="append", choices=list(RECIPES), help=f"default: {', '.join(OURS)}")
    parser.add_argument("--work", type=Path, default=FOLDER, help="for files of some 8 GB meanwhile (%(default)s)")
    parser.add_argument("--threads", type=int, help="default: all")
    parser.add_argument("--markdown", type=Path, help="a file with marks to write the table between")
    arguments = parser.parse_args()
    recipes = arguments.recipe or OURS
    absent = [tool.absent() for tool in (LLAMA_CPP_PYTHON, LLAMA_QUANTIZE) if tool.find() is None]
    rows: list[dict[str, Cell]] = []
    try:
        arguments.work.mkdir(parents=True, exist_ok=True)
        model = arguments.model or fetch(arguments.work)
        with tempfile.TemporaryDirectory(dir=arguments.work) as work:
            study = Study(model, arguments.text, Path(work), threads=arguments.threads)
            for row in measure(study, recipes, not absent):
                rows.append(row.cells())
                print(rows[-1], file=sys.stderr, flush=True)
            if arguments.text.suffix == ".jsonl":
                rows += [answers(study, arguments.text, recipe) for recipe in ("bf16", *recipes)]
    except (BenchError, FetchError, Qwen3EdgeError, OSError) as error:
        print(f"real_model.py: {error}", file=sys.stderr)
        return 1
    tokens = sum(len(text) for text in study.texts)
    head = f"{model.name}: {tokens} tokens of {arguments.text.name}"
    head += "." if arguments.text.suffix == ".jsonl" else f" in windows of {study.context}."
    print("\n".join([head, *table(rows), *absent]))
    if arguments.markdown is not None:
        text = "\n\n".join([head, "\n".join(markdown_table(rows)), *absent]) + "\n"
        write_between(arguments.markdown, MARKS, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
