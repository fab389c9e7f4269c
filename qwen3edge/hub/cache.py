"""The cache's folders, and the file of a model that is in it. Light, as every `load` goes through it.

models/SOURCE/OWNER/REPOSITORY/TAG.q3e      packed, complete
checkpoints/SOURCE/OWNER/REPOSITORY/HASH    a file of the checkpoint, by its content; HASH.part is not complete yet
locks/SOURCE/OWNER/REPOSITORY               locked while something of the repository is fetched or removed
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from qwen3edge.errors import RequestError
from qwen3edge.hub.model_name import ModelName

SOURCES = ("huggingface", "modelscope")
"""In the order in which they are searched."""

PACKED = ".q3e"
DEFAULT_TAG = "int4"
KEPT_TAG = "kept"
"""Of a checkpoint that is quantized already and was packed as it is."""


def root() -> Path:
    """QWEN3EDGE_CACHE, or `qwen3edge` in the user's folder for caches. It need not be there yet."""
    if own := os.environ.get("QWEN3EDGE_CACHE"):
        return Path(own).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(shared) if os.path.isabs(shared) else Path.home() / ".cache") / "qwen3edge"


def models_folder(source: str, repository: str) -> Path:
    """Of the packed files of a repository."""
    return root() / "models" / source / repository


def checkpoint_folder(source: str, repository: str) -> Path:
    """Of what was fetched of a repository."""
    return root() / "checkpoints" / source / repository


def lock_path(source: str, repository: str) -> Path:
    """The file that is locked for a repository."""
    return root() / "locks" / source / repository


def packed_files(source: str, repository: str) -> dict[str, Path]:
    """The packed files of a repository by their tags."""
    folder = models_folder(source, repository)
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {name[: -len(PACKED)]: folder / name for name in names if name.endswith(PACKED) and name[0] != "."}


def cached(name: ModelName, sources: Sequence[str] = SOURCES) -> Path | None:
    """The packed file of a name. Without a tag: the one in int4, or the only one.

    Raises RequestError where there are several others.
    """
    for source in sources:
        found = packed_files(source, name.repository)
        if name.tag is not None:
            exact = [path for tag, path in found.items() if tag.casefold() == name.tag.casefold()]
            if exact:
                return exact[0]
        elif DEFAULT_TAG in found or len(found) == 1:
            return found.get(DEFAULT_TAG) or next(iter(found.values()))
        elif found:
            choices = ", ".join(f"{name.repository}:{tag}" for tag in found)
            raise RequestError(f"{name}: expected which of several packed files is meant, found {choices}")
    return None


def find(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """A path as it is, or where there is no such file and it is the name of a model, the model's file in the cache.

    Raises FileNotFoundError for the name of a model that is not there, RequestError for one of several files.
    """
    name = None if not isinstance(path, str) or os.path.lexists(path) else ModelName.read(path)
    if name is None:
        return path
    found = cached(name)
    if found is None:
        hint = f"no such file, and no model of that name in the cache: `qwen3edge pull {name}` fetches it"
        raise FileNotFoundError(errno.ENOENT, hint, path)
    return found
