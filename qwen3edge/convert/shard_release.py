"""When each file of a checkpoint has been read for the last time, so that it may go while the others are packed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from qwen3edge.errors import CheckpointError
from qwen3edge.formats.safetensors import SafetensorsFolder

DoneWith = Callable[[Path], None]
"""Told of a file that is not read any more; it may remove it."""


class SourceGoneError(CheckpointError):
    """A tensor has to be packed again, in another format, and files of the checkpoint were released already."""


class ShardRelease:
    """Follows the tensors as they are packed. Use it for one conversion."""

    def __init__(self, files: SafetensorsFolder, uses: Sequence[Collection[Path]], done_with: DoneWith) -> None:
        """uses: the files that each tensor lies in, in the order of packing."""
        self._files = files
        self._done_with = done_with
        self._last = last_uses(uses)
        self._uses = uses
        self._released: set[Path] = set()

    def space(self, nbytes: Sequence[int]) -> int:
        """The most bytes of new space that are taken at a time. nbytes: of the packed tensors, in their order."""
        return most_space(nbytes, self._uses, {path: path.stat().st_size for path in self._files.paths})

    def packed(self, index: int) -> None:
        """Releases the files whose last tensor was this one."""
        for path in [path for path, last in self._last.items() if last == index]:
            self._release(path)

    def finish(self) -> None:
        """Releases the rest: the `.q3e` file is complete."""
        for path in self._files.paths:
            if path not in self._released:
                self._release(path)

    def require_all(self, why: str) -> None:
        """Raises SourceGoneError if some files are gone."""
        if self._released:
            raise SourceGoneError(
                f"{self._files.folder}: expected all files for {why}, found {len(self._released)} of them released; "
                "convert without releasing files"
            )

    def _release(self, path: Path) -> None:
        self._files.drop(path)  # the space of a file that is open stays taken
        self._released.add(path)
        self._done_with(path)


def last_uses(uses: Sequence[Collection[Path]]) -> dict[Path, int]:
    """The index of the last tensor in each file."""
    return {path: index for index, paths in enumerate(uses) for path in paths}


def most_space(nbytes: Sequence[int], uses: Sequence[Collection[Path]], sizes: dict[Path, int]) -> int:
    """The most that is written and not yet made up for by files that are gone."""
    last, taken, most = last_uses(uses), 0, 0
    for index, written in enumerate(nbytes):
        taken += written
        most = max(most, taken)
        taken -= sum(sizes[path] for path, at in last.items() if at == index)
    return most
