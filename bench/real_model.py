"""What quantization costs the public real model, beside llama.cpp on the same file: `make real`.

    python bench/real_model.py [--model FILE.gguf] [--markdown docs/decisions/real-model.md]

The file is dequantized to bf16 once; that, with an f32 KV cache, is what every line is held against, and what every
quantized file is made of, ours and llama-quantize's. Weights alone: dequantized, in one float32 graph. Activations
alone: unquantized weights in transformers, rounded as the engine does. As run: by the engine, or by llama.cpp, with an
f32 cache. The text is the first 1,536 tokens of tests/data/real-text.txt in windows of 512. bench/peers.py says how
llama.cpp is found; without it its lines say absent.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dequantized import read_fold
from harness import BenchError, Cell, markdown_table, table, write_between
from numpy.typing import NDArray
from peers import LLAMA_CPP_PYTHON, LLAMA_QUANTIZE, llama_quantize_command, run
from real_file import FOLDER, fetch
from rounded_reference import linear_blocks, put_weights, reference_logits, rounded_activations
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

import qwen3edge
from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert import convert, export_gguf
from qwen3edge.convert.hf_files import hf_config
from qwen3edge.errors import Qwen3EdgeError
from qwen3edge.evaluate.divergence import log_divergence, log_softmax
from qwen3edge.evaluate.measure import ROWS
from qwen3edge.evaluate.private_copy import matrices, private_copy
from qwen3edge.evaluate.scores import Scores
from qwen3edge.evaluate.texts import read_documents

BENCH = Path(__file__).resolve().parent
TEXT = BENCH.parent / "tests" / "data" / "real-text.txt"
WINDOW, WINDOWS = 512, 3
RECIPES = ("int8", "int6", "int4")
THEIRS = ("Q8_0", "Q4_0")
CACHES = ("bf16", "int8", "int4")
BEGIN, END = "<!-- real model: begin -->", "<!-- real model: end -->"
WEIGHTS, ACTIVATIONS, AS_RUN, CACHE = "weights alone", "activations alone", "as run", "KV cache alone"

Windows = Iterable[NDArray[np.float32]]
"""Logits [tokens, vocabulary] of each window in turn."""


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    part: str  # which of the costs
    what: str
    nbytes: int | None  # of the file, where its size belongs to the cost
    scores: Scores | None  # None: `reason`
    reason: str = ""

    def cells(self) -> dict[str, Cell]:
        first: dict[str, Cell] = {
            "cost of": self.part,
            "in": self.what,
            "MB": None if self.nbytes is None else f"{self.nbytes / 1e6:.1f}",
        }
        if self.scores is None:
            return first | {"perplexity": self.reason}
        found = self.scores.summary()
        first["perplexity"] = f"{found['perplexity']:.3f}"
        if not self.scores.kl.size:
            return first
        return first | {
            "mean KL": f"{found['kl']:.5f}",
            "median": f"{found['kl_median']:.5f}",
            "99 %": f"{found['kl_99']:.4f}",
            "top-1": f"{100 * found['top1']:.1f} %",
        }


class Study:
    """A model, the text, and what the dequantized weights say about it."""

    def __init__(self, model: Path, work: Path, *, window: int = WINDOW, threads: int | None = None) -> None:
        """model: a GGUF file, or a folder; work: for files of some three times its size in bf16."""
        self.work, self.window, self.threads = work, window, threads
        self.exact, self.base = work / "bf16.q3e", work / "bf16.gguf"
        convert(model, self.exact, "bf16")
        export_gguf(self.exact, self.base)
        with self._load(self.exact) as loaded:
            tokens = read_documents(TEXT, loaded.prompt_builder)[0]
        if len(tokens) < window * WINDOWS:
            raise BenchError(f"{TEXT.name}: expected {window * WINDOWS} tokens of this model, found {len(tokens)}")
        self.tokens = np.array(tokens[: window * WINDOWS], np.int32).reshape(WINDOWS, window)
        self.config = ModelConfig.from_metadata(_core.ModelFile(str(self.exact)))
        shape = (WINDOWS, window, self.config.vocab_size)
        self.reference = np.lib.format.open_memmap(work / "reference.npy", "w+", np.float32, shape)
        for place, logits in zip(self.reference, self.engine(self.exact), strict=True):
            place[:] = logits

    def _load(self, path: Path, kv: str = "f32") -> qwen3edge.Model:
        return qwen3edge.load(path, context=self.window, threads=self.threads, kv=kv)

    def engine(self, path: Path, kv: str = "f32") -> Iterator[NDArray[np.float32]]:
        """By our engine. Raises Qwen3EdgeError for a cache that the model refuses."""
        with self._load(path, kv) as model:
            for tokens in self.tokens:
                yield model.logits(tokens.tolist())

    def llama(self, path: Path, kv: str = "f32") -> Iterator[NDArray[np.float32]]:
        """By llama.cpp. Raises BenchError."""
        python = LLAMA_CPP_PYTHON.find()
        if python is None:
            raise BenchError(LLAMA_CPP_PYTHON.absent())
        for tokens in self.tokens:
            np.save(self.work / "tokens.npy", tokens)
            words = [path, self.work / "tokens.npy", self.work / "logits.npy", "--kv", kv]
            words += ["--threads", str(self.threads or _core.usable_cores())]
            run([python, BENCH / "llama_logits.py", *words], environment={"PYTHONPATH": ""})
            yield np.load(self.work / "logits.npy")

    def scores(self, windows: Windows) -> Scores:
        """Against the reference."""
        found = Scores.empty()
        for number, logits in enumerate(windows):
            found = found.plus(self._window_scores(number, logits))
        return found

    def _window_scores(self, number: int, logits: NDArray[np.float32]) -> Scores:
        count = self.window - 1  # the last row scores what comes after the window
        losses, divergences, agreed = [], [], []
        for start in range(0, count, ROWS):
            rows = slice(start, min(start + ROWS, count))
            ours, exact = logits[rows], self.reference[number, rows]
            p = log_softmax(ours)
            following = self.tokens[number, rows.start + 1 : rows.stop + 1]
            losses.append(-p[np.arange(len(p)), following])
            divergences.append(log_divergence(log_softmax(exact), p))
            agreed.append(exact.argmax(-1) == ours.argmax(-1))
        return Scores(
            np.full(count, number, np.int32),
            np.arange(1, count + 1, dtype=np.int32),
            np.concatenate(losses).astype(np.float32),
            np.concatenate(divergences).astype(np.float32),
            np.concatenate(agreed),
        )

    def ours(self, recipe: str) -> Path:
        """Our file of a recipe, made when it is first asked for."""
        path = self.work / f"{recipe}.q3e"
        if not path.exists():
            convert(self.base, path, recipe)
        return path

    def theirs(self, kind: str) -> Path:
        """llama-quantize's file. Raises BenchError."""
        path = self.work / f"{kind}.gguf"
        if not path.exists():
            run(llama_quantize_command(self.base, path, kind, _core.usable_cores()))
        return path

    def transformers(self) -> PreTrainedModel:
        """The unquantized weights in float32."""
        keys = hf_config(self.config, "float32")
        config = AutoConfig.for_model(keys.pop("model_type"), **keys)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
        put_weights(model, _core.ModelFile(str(self.exact)))
        return model


def weights_alone(study: Study, has_llama: bool) -> Iterator[Row]:
    """Dequantized into one float32 graph."""
    wide = study.work / "f32.q3e"
    convert(study.base, wide, "f32")
    wide_fold = read_fold(_core.ModelFile(str(wide)))
    with private_copy(wide, study.work) as copy:
        for recipe in RECIPES:
            file = _core.ModelFile(str(study.ours(recipe)))
            fold = read_fold(file)
            for name, tensor in matrices(file).items():
                copy.put(name, tensor["format"], file.packed(name), fold.to(wide_fold, name))
            yield Row(WEIGHTS, recipe, study.ours(recipe).stat().st_size, study.scores(study.engine(Path(copy.path))))
    for kind in THEIRS if has_llama else ():
        convert(study.theirs(kind), wide, "f32")
        yield Row(WEIGHTS, f"llama.cpp {kind}", study.theirs(kind).stat().st_size, study.scores(study.engine(wide)))
    wide.unlink()


def activations_alone(study: Study) -> Iterator[Row]:
    """Unquantized weights; every matrix's input rounded as the engine rounds it for the recipe's format."""
    model = study.transformers()
    for recipe in RECIPES:
        with rounded_activations(model, linear_blocks(_core.ModelFile(str(study.ours(recipe))))):
            yield Row(ACTIVATIONS, recipe, None, study.scores(reference_logits(model, t) for t in study.tokens))


def as_run(study: Study, has_llama: bool) -> Iterator[Row]:
    """With an f32 cache, each by its own program."""
    for recipe in RECIPES:
        path = study.ours(recipe)
        yield Row(AS_RUN, recipe, path.stat().st_size, study.scores(study.engine(path)))
    for kind in THEIRS if has_llama else ():
        path = study.theirs(kind)
        yield Row(AS_RUN, f"llama.cpp {kind}", path.stat().st_size, study.scores(study.llama(path)))


def caches_alone(study: Study, has_llama: bool) -> Iterator[Row]:
    """Of the unquantized weights. llama.cpp's f32 cache shows how far the two programs are from each other."""
    for kv in CACHES:
        try:
            yield Row(CACHE, kv, None, study.scores(study.engine(study.exact, kv)))
        except Qwen3EdgeError as error:
            yield Row(CACHE, kv, None, None, f"refused: {error}")
    for kv in ("f32", "q8_0") if has_llama else ():
        yield Row(CACHE, f"llama.cpp {kv}", None, study.scores(study.llama(study.base, kv)))


def measure(study: Study, has_llama: bool) -> Iterator[Row]:
    """All lines, as they are done."""
    yield Row("nothing", "bf16, f32 cache", study.exact.stat().st_size, study.scores(study.reference))
    yield from weights_alone(study, has_llama)
    yield from activations_alone(study)
    yield from as_run(study, has_llama)
    yield from caches_alone(study, has_llama)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, help="a GGUF file or a folder (default: the public one, fetched to build/)"
    )
    parser.add_argument("--work", type=Path, default=FOLDER, help="for files of some 8 GB meanwhile (%(default)s)")
    parser.add_argument("--threads", type=int, help="default: all")
    parser.add_argument("--markdown", type=Path, help="a file with marks to write the table between")
    arguments = parser.parse_args()
    absent = [tool.absent() for tool in (LLAMA_CPP_PYTHON, LLAMA_QUANTIZE) if tool.find() is None]
    try:
        arguments.work.mkdir(parents=True, exist_ok=True)
        model = arguments.model or fetch(arguments.work)
        with tempfile.TemporaryDirectory(dir=arguments.work) as work:
            study = Study(model, Path(work), threads=arguments.threads)
            rows = []
            for row in measure(study, not absent):
                rows.append(row.cells())
                print(row.cells(), file=sys.stderr, flush=True)
    except (BenchError, Qwen3EdgeError, OSError) as error:
        print(f"real_model.py: {error}", file=sys.stderr)
        return 1
    head = f"{model.name}: {study.tokens.size} tokens of {TEXT.name} in windows of {study.window}."
    print("\n".join([head, *table(rows), *absent]))
    if arguments.markdown is not None:
        write_between(
            arguments.markdown, (BEGIN, END), "\n\n".join([head, "\n".join(markdown_table(rows)), *absent]) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
