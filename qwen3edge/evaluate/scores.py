"""What was measured of every predicted token, and its summary."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge.errors import RequestError
from qwen3edge.formats.atomic import replacing

_FIRST_BIN = 16


@dataclass(frozen=True)
class Scores:
    """One entry for each predicted token; kl and agreed are empty without a reference."""

    window: NDArray[np.int32]  # which it stands in
    position: NDArray[np.int32]  # of the token in its window
    loss: NDArray[np.float32]  # -log p(token), nats
    kl: NDArray[np.float32]  # KL(reference || model) of the whole distribution, nats
    agreed: NDArray[np.bool_]  # both think the same token most likely

    @classmethod
    def empty(cls) -> Scores:
        """Of no tokens."""
        places, nats = np.zeros(0, np.int32), np.zeros(0, np.float32)
        return cls(places, places, nats, nats, np.zeros(0, np.bool_))

    def plus(self, other: Scores) -> Scores:
        """Both, one after the other."""
        return Scores(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))

    @property
    def windows(self) -> int:
        """How many were measured."""
        return int(self.window[-1]) + 1 if self.window.size else 0

    def summary(self) -> dict[str, Any]:
        """For JSON. Raises RequestError without any token."""
        if not self.loss.size:
            raise RequestError("expected text of at least two tokens, found none")
        loss = float(self.loss.mean(dtype=np.float64))
        result: dict[str, Any] = {"tokens": int(self.loss.size), "loss": loss, "perplexity": float(np.exp(loss))}
        if self.kl.size:
            result |= _divergence(self.kl, self.agreed)
            per_window = np.array([self.kl[self.window == w].mean() for w in np.unique(self.window)])
            # Windows are nearly independent, tokens are not.
            result["kl_standard_error"] = float(per_window.std() / len(per_window) ** 0.5)
        result["by_position"] = [self._bin(low, high) for low, high in self._bins()]
        return result

    def _bins(self) -> list[tuple[int, int]]:
        edges = [0, _FIRST_BIN]
        while edges[-1] <= int(self.position.max()):
            edges.append(2 * edges[-1])
        return list(itertools.pairwise(edges))

    def _bin(self, low: int, high: int) -> dict[str, Any]:
        inside = (self.position >= low) & (self.position < high)
        found: dict[str, Any] = {"from": low, "to": high - 1, "tokens": int(inside.sum())}
        if found["tokens"]:
            found["perplexity"] = float(np.exp(self.loss[inside].mean(dtype=np.float64)))
            if self.kl.size:
                found |= _divergence(self.kl[inside], self.agreed[inside])
        return found

    def save(self, path: Path, key: str) -> None:
        """Replaces the file at once; key: says what was measured."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, key=np.array(key), **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path, key: str) -> Scores:
        """Raises RequestError for a file of another measurement or kind."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                found = str(arrays["key"])
                scores = cls(*(arrays[f.name] for f in fields(cls)))
        except (ValueError, KeyError, EOFError, OSError) as error:
            raise RequestError(f"{path}: expected what an interrupted measurement left: {error}") from None
        if found != key:
            raise RequestError(f"{path}: expected the beginning of this measurement, found that of another: {found}")
        return scores


def _divergence(kl: NDArray[np.float32], agreed: NDArray[np.bool_]) -> dict[str, float]:
    return {
        "kl": float(kl.mean(dtype=np.float64)),
        "kl_median": float(np.median(kl)),
        "kl_99": float(np.quantile(kl, 0.99)),
        "top1": float(agreed.mean()),
    }
