"""What a model without quantization says about some texts, and how far from it others are, by each way to run them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

import qwen3edge
from bench.peers import LLAMA_CPP_PYTHON, ROOT, llama_quantize_command, run
from bench.quiet import BenchError
from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert import Recipe, convert, export_gguf
from qwen3edge.convert.hf_files import hf_config
from qwen3edge.evaluate.divergence import log_divergence, log_softmax
from qwen3edge.evaluate.measure import ROWS
from qwen3edge.evaluate.private_copy import matrices, private_copy
from qwen3edge.evaluate.scores import Scores
from qwen3edge.evaluate.texts import read_documents
from qwen3edge.formats.key_fold import KeyFold
from tests.reference.rounded_model import linear_blocks, put_weights, reference_logits, rounded_activations

LLAMA_LOGITS = ROOT / "tests" / "reference" / "llama_logits.py"
WINDOW, WINDOWS = 512, 3  # of a plain text; each item of a .jsonl is a text of its own

Logits = Iterable[NDArray[np.float32]]
"""[tokens, vocabulary] of each text in turn."""


class Study:
    """A model, texts, and what the unquantized weights say about them."""

    def __init__(
        self, model: Path, text: Path, work: Path, *, window: int = WINDOW, threads: int | None = None, every: int = 1
    ) -> None:
        """model: a GGUF file, or a folder; work: for files of some three times its size in bf16; every: one item of so
        many. Raises BenchError."""
        self.work, self.threads, self.context = work, threads, window
        self.exact, self.base, self.wide = work / "bf16.q3e", work / "bf16.gguf", work / "f32.q3e"
        convert(model, self.exact, "bf16")
        export_gguf(self.exact, self.base)
        convert(self.base, self.wide, "f32")
        with self.load(self.exact) as loaded:
            self.texts = [np.array(tokens, np.int32) for tokens in read_documents(text, loaded.prompt_builder)]
        if text.suffix == ".jsonl":
            self.texts = self.texts[::every]
        else:
            wanted = window * WINDOWS
            if len(self.texts[0]) < wanted:
                raise BenchError(f"{text.name}: expected {wanted} tokens of this model, found {len(self.texts[0])}")
            self.texts = list(self.texts[0][:wanted].reshape(WINDOWS, window))
        self.context = max(len(tokens) for tokens in self.texts)
        self.config = ModelConfig.from_metadata(_core.ModelFile(str(self.exact)))
        self.reference: list[NDArray[np.float32]] = []
        for number, logits in enumerate(self.engine(self.exact)):  # a large vocabulary's take gigabytes
            path = work / f"reference-{number}.npy"
            np.save(path, logits)
            self.reference.append(np.load(path, mmap_mode="r"))

    def load(self, path: Path, kv: str = "f32", more: int = 0, sequences: int = 1) -> qwen3edge.Model:
        """With a context that the longest text fits, and `more` tokens."""
        return qwen3edge.load(path, context=self.context + more, threads=self.threads, kv=kv, sequences=sequences)

    def ours(self, recipe: str | Recipe) -> Path:
        """Our file of a recipe, made when it is first asked for."""
        path = self.work / f"{recipe.name if isinstance(recipe, Recipe) else recipe}.q3e"
        if not path.exists():
            convert(self.base, path, recipe)
        return path

    def theirs(self, kind: str) -> Path:
        """llama-quantize's file. Raises BenchError."""
        path = self.work / f"{kind}.gguf"
        if not path.exists():
            run(llama_quantize_command(self.base, path, kind, _core.usable_cores()))
        return path

    def engine(self, path: Path, kv: str = "f32") -> Logits:
        """By our engine."""
        with self.load(path, kv) as model:
            for tokens in self.texts:
                yield model.logits(tokens.tolist())

    def weights_alone(self, path: Path) -> Logits:
        """By our engine with the weights of a `.q3e` or a GGUF file in f32."""
        if path.suffix == ".gguf":
            wide = self.work / "theirs.q3e"
            convert(path, wide, "f32")
            yield from self.engine(wide)
            wide.unlink()
        else:
            with dequantized(path, self.wide, self.work) as copy:
                yield from self.engine(copy)

    def activations_alone(self, path: Path) -> Logits:
        """By transformers with unquantized weights; every matrix's input is rounded as for the file's formats."""
        keys = hf_config(self.config, "float32")
        config = AutoConfig.for_model(keys.pop("model_type"), **keys)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
        put_weights(model, _core.ModelFile(str(self.exact)))
        with rounded_activations(model, linear_blocks(_core.ModelFile(str(path)))):
            for tokens in self.texts:
                yield reference_logits(model, tokens)

    def llama(self, path: Path, kv: str = "f32") -> Logits:
        """By llama.cpp of a GGUF file. Raises BenchError."""
        threads = str(self.threads or _core.usable_cores())
        for tokens in self.texts:
            yield llama_logits(path, tokens, self.work, "--kv", kv, "--threads", threads)

    def scores(self, logits: Logits) -> Scores:
        """Against the unquantized weights, of every token but the first of each text."""
        found = Scores.empty()
        for number, each in enumerate(logits):
            found = found.plus(self._text_scores(number, each))
        return found

    def _text_scores(self, number: int, logits: NDArray[np.float32]) -> Scores:
        count = len(self.texts[number]) - 1  # the last row scores what comes after the text
        losses, divergences, agreed = [], [], []
        for start in range(0, count, ROWS):
            rows = slice(start, min(start + ROWS, count))
            ours, exact = logits[rows], self.reference[number][rows]
            p = log_softmax(ours)
            following = self.texts[number][rows.start + 1 : rows.stop + 1]
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


@contextlib.contextmanager
def dequantized(path: Path, wide: Path, work: Path) -> Iterator[Path]:
    """A copy of `wide`, the same checkpoint in f32, with the weights of the file at `path`."""
    file, wide_file = _core.ModelFile(str(path)), _core.ModelFile(str(wide))
    # Scales in float16 may have cut a fold of the keys, so that the two differ.
    fold, wide_fold = (KeyFold.read(each, ModelConfig.from_metadata(each)) for each in (file, wide_file))
    with private_copy(wide, work) as copy:
        for name, tensor in matrices(file).items():
            copy.put(name, tensor["format"], file.packed(name), fold.to(wide_fold, name))
        yield Path(copy.path)


def llama_logits(path: Path, tokens: NDArray[np.integer], work: Path, *options: object) -> NDArray[np.float32]:
    """By llama.cpp in a process of its own: float32 [tokens, vocabulary]. Raises BenchError."""
    np.save(work / "tokens.npy", tokens)
    words = [LLAMA_LOGITS, path, work / "tokens.npy", work / "logits.npy", *options]
    run([LLAMA_CPP_PYTHON.path(), *words], environment={"PYTHONPATH": ""})
    found: NDArray[np.float32] = np.load(work / "logits.npy")
    return found
