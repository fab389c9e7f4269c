"""What outliers cost that were put into trained models without changing what they compute (tests/outliers.py).

    python bench/quality_outliers.py tests/data/tiny-qwen3 tests/data/tiny-qwen3-moe tests/data/tiny-qwen2 \\
        --markdown docs/decisions/outliers.md

Each model stands beside itself without them. Every divergence is from the same checkpoint's own float32 weights with a
float32 cache, over held-out chats. Who has no tokenizer or held-out chats gets those of the first.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from chats import Texts, read_records
from dequantized import write_dequantized
from harness import Cell, markdown_table, table, write_between
from numpy.typing import NDArray

import qwen3edge
from qwen3edge import _core
from qwen3edge.convert import convert
from qwen3edge.evaluate.divergence import kl_divergence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.outliers import KINDS, put_outliers

PLAIN = "none"
CONTEXT = 512
TEXT_STEP = 14  # one held-out record of so many, of those that need no thoughts
RECIPES, CACHES = ("int8", "int4"), ("int8", "int4")
SEED = 1
BEGIN, END = "<!-- outliers: begin -->", "<!-- outliers: end -->"


@dataclass
class Outliers:
    """A checkpoint, plain and with outliers of each kind, and what each says about the same chats."""

    source: Path
    work: Path  # an empty folder for checkpoints and files
    seed: int
    chats: list[tuple[int, ...]] = field(init=False)
    known: dict[tuple[str, str, str], list[NDArray[np.float32]]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        texts = Texts(_core.ModelFile(str(self.path(PLAIN, "f32"))))
        records = [r for r in read_records(self.source / "heldout.jsonl") if not r["enable_thinking"]]
        self.chats = [texts.expected(record).tokens for record in records[::TEXT_STEP]]

    def checkpoint(self, kind: str) -> Path:
        """The folder with outliers of a kind of KINDS, or the source for PLAIN."""
        if kind == PLAIN:
            return self.source
        folder = self.work / kind
        if not folder.exists():
            put_outliers(self.source, kind, folder, tokens=np.concatenate(self.chats), seed=self.seed)
        return folder

    def path(self, kind: str, recipe: str) -> Path:
        """The `.q3e` file. The recipe "int4, dequantized" has the weights of int4 in float32."""
        path = self.work / f"{kind}, {recipe}.q3e"
        if not path.exists():
            quantized, comma, _ = recipe.partition(",")
            if comma:
                file = _core.ModelFile(str(self.path(kind, quantized)))
                write_dequantized(file, self.path(kind, "f32"), path)
            else:
                convert(self.checkpoint(kind), path, quantized)
        return path

    def logits(self, kind: str, recipe: str = "f32", kv: str = "f32") -> list[NDArray[np.float32]]:
        """Of each chat, float32 [tokens, vocabulary]."""
        key = kind, recipe, kv
        if key not in self.known:
            with qwen3edge.load(self.path(kind, recipe), context=CONTEXT, kv=kv, threads=1) as model:
                self.known[key] = [model.logits(chat) for chat in self.chats]
        return self.known[key]

    def divergence(self, kind: str, recipe: str = "f32", kv: str = "f32") -> float:
        """Mean KL in nats a token from the same checkpoint's float32 weights and cache."""
        pairs = zip(self.logits(kind), self.logits(kind, recipe, kv), strict=True)
        return float(np.concatenate([kl_divergence(exact, other) for exact, other in pairs]).mean())


def gather(folder: Path, texts: Path, out: Path) -> Path:
    """A copy of a checkpoint, with the tokenizer and the chats of `texts` where it has none."""
    out.mkdir()
    for path in (*texts.iterdir(), *folder.iterdir()):  # the second has the last word
        if path.is_file() and (path.parent == folder or path.suffix != ".safetensors"):
            shutil.copyfile(path, out / path.name)
    return out


def rows(study: Outliers) -> list[dict[str, Cell]]:
    found: list[dict[str, Cell]] = []
    for kind in (PLAIN, *KINDS):
        row: dict[str, Cell] = {"outliers": kind}
        for recipe in RECIPES:
            row[f"{recipe} weights"] = _small(study.divergence(kind, f"{recipe}, dequantized"))
            row[f"{recipe}, activations too"] = _small(study.divergence(kind, recipe))
        for kv in CACHES:
            row[f"cache in {kv}"] = _small(study.divergence(kind, kv=kv))
        found.append(row)
    return found


def _small(value: float) -> str:
    return f"{value:.1e}" if value < 5e-5 else f"{value:.4f}" if value < 0.1 else f"{value:.3f}"


def page(models: Mapping[str, Sequence[Mapping[str, Cell]]], head: str) -> str:
    parts = [head, *(f"{name}:\n\n" + "\n".join(markdown_table(found)) for name, found in models.items())]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="+", help="a Hugging Face folder; the first with heldout.jsonl")
    parser.add_argument("--seed", type=int, default=SEED, help="of the outliers' places (%(default)s)")
    parser.add_argument("--markdown", type=Path, help="a file with marks to write the tables between")
    arguments = parser.parse_args()
    models: dict[str, list[dict[str, Cell]]] = {}
    head = ""
    for folder in arguments.model:
        with tempfile.TemporaryDirectory() as work:
            source = gather(folder, arguments.model[0], Path(work) / "source")
            study = Outliers(source, Path(work), arguments.seed)
            models[folder.name] = rows(study)
            head = f"KL over {sum(map(len, study.chats))} tokens of {len(study.chats)} chats, seed {arguments.seed}."
        print(folder.name, *table(models[folder.name]), sep="\n", flush=True)
    if arguments.markdown is not None:
        write_between(arguments.markdown, (BEGIN, END), page(models, head))


if __name__ == "__main__":
    main()
