"""Search by meaning, offline: python main.py MODEL.q3e NOTES.txt < questions

Writes the lines of the notes that are nearest to each question, with their cosine. For a model that was trained for it,
such as Qwen3-Embedding-0.6B.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import qwen3edge

BEST = 3


class Index:
    """Texts and their embeddings, float32 [texts, hidden size] with rows of length 1."""

    def __init__(self, model: qwen3edge.Model, texts: Sequence[str]) -> None:
        self.model = model
        self.texts = list(texts)
        self.vectors = model.embed(self.texts)

    def nearest(self, question: str) -> list[tuple[float, str]]:
        """The best first; of texts that are equally near the first."""
        query = self.model.embed([question], instruction="Find notes that answer the question")[0]
        scores = self.vectors @ query
        return [(float(scores[i]), self.texts[i]) for i in np.argsort(-scores, kind="stable")[:BEST]]


def main(model_path: str, notes_path: str) -> None:
    """Questions come a line each, as long as there are some."""
    notes = [line.strip() for line in Path(notes_path).read_text(encoding="utf-8").splitlines() if line.strip()]
    if not notes:
        raise SystemExit(f"python-embed: expected notes in {notes_path}, a line each, found none")
    with qwen3edge.load(model_path, context=512) as model:
        index = Index(model, notes)
        for question in sys.stdin:
            for score, text in index.nearest(question.strip()):
                print(f"{score:.3f} {text}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: python main.py MODEL.q3e NOTES.txt")
    main(*sys.argv[1:])
