"""Outliers put into trained models without changing what they compute (tests/outliers.py), and what they cost.

Every divergence is from the same checkpoint's own float32 weights with a float32 cache, over held-out chats.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import qwen3edge
from qwen3edge import _core
from qwen3edge.convert import convert
from qwen3edge.evaluate.divergence import kl_divergence
from tests.outliers import put_outliers
from tests.reference.chats import Texts, read_records

PLAIN = "none"
CONTEXT = 1024  # calls in XML are long
TEXT_STEP = 14  # one held-out record of so many, of those that need no thoughts


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
        """The `.q3e` file."""
        path = self.work / f"{kind}, {recipe}.q3e"
        if not path.exists():
            convert(self.checkpoint(kind), path, recipe)
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
