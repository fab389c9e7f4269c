"""What a calibration has done so far, in a folder: a run that was killed goes on from there.

`key` says what is measured; `text.npz` is what the model wrote; `pass-N.npz` what the windows of a pass have added up
to; `sensitivities.json` those measured. Each file appears complete.
"""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qwen3edge.calibrate.collect import Input
from qwen3edge.errors import RequestError
from qwen3edge.evaluate.texts import Tokens
from qwen3edge.formats.atomic import replacing

SAVE_SECONDS = 10.0
_SAVE_SHARE = 0.05  # of the time at most: large X^T X are saved more seldom

Inputs: TypeAlias = dict[str, Input]


class Checkpoint:
    """Without a folder it keeps nothing."""

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        """Raises OSError."""
        self._folder = None if folder is None else Path(folder)
        self._next_save = time.monotonic() + SAVE_SECONDS

    def begin(self, key: str) -> None:
        """Raises RequestError for a folder of another calibration, OSError."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "key"
        if not path.exists():
            if any(self._folder.iterdir()):
                raise RequestError(f"{self._folder}: expected what an interrupted calibration left, found other files")
            with replacing(path) as temporary:
                temporary.write_text(key, "utf-8")
        found = path.read_text("utf-8", errors="replace")
        if found != key:
            raise RequestError(f"{self._folder}: expected the beginning of this calibration, found another: {found}")

    def documents(self, write: Callable[[], list[Tokens]]) -> list[Tokens]:
        """Those of before, or what `write` makes."""
        kept = self._load("text.npz")
        if kept is None:
            documents = write()
            self._save("text.npz", {str(i): np.array(d, np.int32) for i, d in enumerate(documents)})
            return documents
        return [tuple(int(token) for token in kept[str(i)]) for i in range(len(kept))]

    def load_pass(self, number: int) -> tuple[Inputs, int]:
        """What was collected in a pass, and the windows that were read."""
        name = f"pass-{number}.npz"
        kept = self._load(name)
        if kept is None:
            return {}, 0
        try:
            inputs = {
                key.removeprefix("sums/"): Input(values, kept[f"counts/{key[5:]}"], kept.get(f"gram/{key[5:]}"))
                for key, values in kept.items()
                if key.startswith("sums/")
            }
            return inputs, int(kept["windows"])
        except KeyError as error:
            raise self._damaged(name, error) from None

    def save_pass(self, number: int, inputs: Inputs, windows: int, *, complete: bool) -> None:
        """Every so often, and when a pass is complete."""
        if self._folder is None or (not complete and time.monotonic() < self._next_save):
            return
        began = time.monotonic()
        arrays: dict[str, NDArray[Any]] = {"windows": np.array(windows)}
        for name, seen in inputs.items():
            arrays[f"sums/{name}"], arrays[f"counts/{name}"] = seen.sums, seen.counts
            if seen.gram is not None:
                arrays[f"gram/{name}"] = seen.gram
        self._save(f"pass-{number}.npz", arrays)
        now = time.monotonic()
        self._next_save = now + max(SAVE_SECONDS, (now - began) / _SAVE_SHARE)

    def sensitivities(self) -> dict[str, float]:
        """By tensor, those that were measured."""
        name = "sensitivities.json"
        if self._folder is None or not (self._folder / name).exists():
            return {}
        try:
            return {str(k): float(v) for k, v in json.loads((self._folder / name).read_text("utf-8")).items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise self._damaged(name, error) from None

    def save_sensitivities(self, values: dict[str, float]) -> None:
        """All so far."""
        if self._folder is not None:
            with replacing(self._folder / "sensitivities.json") as temporary:
                temporary.write_text(json.dumps(values), "utf-8")

    def _load(self, name: str) -> dict[str, NDArray[Any]] | None:
        if self._folder is None or not (self._folder / name).exists():
            return None
        try:
            with np.load(self._folder / name, allow_pickle=False) as arrays:
                return dict(arrays.items())
        except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise self._damaged(name, error) from None

    def _save(self, name: str, arrays: dict[str, NDArray[Any]]) -> None:
        if self._folder is not None:
            with replacing(self._folder / name) as temporary, temporary.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]

    def _damaged(self, name: str, error: Exception) -> RequestError:
        return RequestError(f"{self._folder}: expected what an interrupted calibration left, found {name}: {error}")
