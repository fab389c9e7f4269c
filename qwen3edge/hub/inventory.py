"""What is in the cache: packed models and the checkpoints that were kept; and how they go."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qwen3edge import _core
from qwen3edge.errors import Qwen3EdgeError, RequestError
from qwen3edge.hub import cache
from qwen3edge.hub.model_name import ModelName
from qwen3edge.hub.repository_lock import RepositoryLock

CHECKPOINT = "checkpoint"
"""In place of a tag: what was fetched."""


@dataclass(frozen=True)
class Entry:
    """A packed file, or the folder of a checkpoint's files."""

    name: str  # with its tag, as `load` takes it; a checkpoint's without
    tag: str  # int4, Q4_K_M ..; CHECKPOINT
    source: str
    revision: str  # "" where it is not known
    nbytes: int
    seconds: float  # when it was written, since 1970
    path: Path
    complete: bool  # False: of a checkpoint, a download broke off


@dataclass(frozen=True)
class Origin:
    """What a packed file says of where it is from. contents: a hash over all files that it was made of."""

    revision: str = ""
    contents: str = ""

    @classmethod
    def of(cls, path: Path) -> Origin | None:
        """None for a file that is absent or broken."""
        try:
            file = _core.ModelFile(os.fspath(path))
        except (Qwen3EdgeError, OSError):
            return None
        revision, contents = (
            file.get(key) if (key := f"qwen3edge.origin.{name}") in file else "" for name in ("revision", "contents")
        )
        return cls(str(revision), str(contents))


def entries() -> list[Entry]:
    """All there are, by source and name."""
    found = []
    for source in cache.SOURCES:
        for repository in _repositories(cache.root() / "models" / source):
            for tag, path in cache.packed_files(source, repository).items():
                status, origin = path.stat(), Origin.of(path)
                name, revision = f"{repository}:{tag}", origin.revision if origin else ""
                found.append(
                    Entry(name, tag, source, revision, status.st_size, status.st_mtime, path, origin is not None)
                )
        for repository in _repositories(cache.root() / "checkpoints" / source):
            folder = cache.checkpoint_folder(source, repository)
            files = [entry for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]
            if not files:
                continue
            statuses = [entry.stat(follow_symlinks=False) for entry in files]
            nbytes, seconds = sum(s.st_blocks * 512 for s in statuses), max(s.st_mtime for s in statuses)
            complete = not any(entry.name.endswith(".part") for entry in files)
            found.append(Entry(repository, CHECKPOINT, source, "", nbytes, seconds, folder, complete))
    return found


def remove(text: str, source: str | None = None) -> list[Entry]:
    """Removes the packed files of a name and, with the last of them, the checkpoint; gives what went. source: default
    all.

    Raises RequestError for a name that is none or not there, and while it is pulled.
    """
    name = ModelName.parse(text)
    tag = None if name.tag is None else name.tag.casefold()
    known = entries()
    mine = [e for e in known if e.name.partition(":")[0] == name.repository and source in (None, e.source)]
    going = [e for e in mine if tag is None or e.tag.casefold() == tag]
    if not going:
        there = ", ".join(dict.fromkeys(e.name for e in known)) or "nothing"
        raise RequestError(f"{name}: expected a model of the cache, found {there}")
    gone = []
    for where in dict.fromkeys(e.source for e in going):
        with RepositoryLock(where, name.repository, wait=False):
            ours = [e for e in going if e.source == where]
            for entry in ours:
                _delete(entry)
            gone += ours
            left = [e for e in mine if e.source == where and e not in ours]
            if left and all(e.tag == CHECKPOINT for e in left):
                for entry in left:
                    _delete(entry)
                gone += left
    return gone


def _delete(entry: Entry) -> None:
    if entry.tag == CHECKPOINT:
        shutil.rmtree(entry.path)
    else:
        entry.path.unlink(missing_ok=True)


def _repositories(folder: Path) -> Iterator[str]:
    for owner in _folders(folder):
        for repository in _folders(folder / owner):
            if ModelName.read(f"{owner}/{repository}") is not None:
                yield f"{owner}/{repository}"


def _folders(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
