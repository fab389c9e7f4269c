"""Conversations that clients save by name: files in one folder, which no name leads out of."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from dataclasses import dataclass
from pathlib import Path

from qwen3edge.closing import Closing
from qwen3edge.errors import RequestError, SessionFileError, shown
from qwen3edge.generation.model import Model
from qwen3edge.server.errors import BodyError, ConflictError, NotFoundError, StorageError

MOST_SESSIONS = 1000
"""In a folder: a client cannot fill a disk with ever new names."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SUFFIX = ".session"
_UNFINISHED = re.compile(rf"{_NAME.pattern}{re.escape(_SUFFIX)}\.new-\d+-\d+")
"""How `Session.save` calls a file that is not whole yet. A killed server leaves it."""


@dataclass(frozen=True)
class Saved:
    """A file. modified: seconds since 1970."""

    name: str
    bytes: int
    modified: float


class Sessions(Closing):
    """A folder that this process has for itself. Any thread may call."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder if it is not there, and removes what a killed server left unfinished. Raises RequestError
        where another server has the folder, OSError.
        """
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)
        self._lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise RequestError(
                f"--sessions {folder}: expected a folder of this server's own, found one that another uses"
            ) from None
        for entry in self._entries():
            if _UNFINISHED.fullmatch(entry.name):
                os.unlink(entry.path)

    def path(self, name: str) -> Path:
        """Where a session of this name is or will be. Raises BodyError."""
        if not _NAME.fullmatch(name):
            raise BodyError(
                "name: expected 1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit, "
                f"found {shown(name)}",
                "name",
            )
        return self._folder / f"{name}{_SUFFIX}"

    def listed(self) -> list[Saved]:
        """All of them, by name."""
        found = []
        for entry in self._entries():
            name = entry.name.removesuffix(_SUFFIX)
            if name != entry.name and _NAME.fullmatch(name):
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    about = entry.stat(follow_symlinks=False)
                    found.append(Saved(name, about.st_size, about.st_mtime))
        return sorted(found, key=lambda each: each.name)

    def save(self, name: str, model: Model, tokens: list[int]) -> Saved:
        """Writes a conversation, with what the model has in memory of it. One of the same name is replaced at once or
        not at all. Raises BodyError for a name, ConflictError, StorageError.
        """
        path = self.path(name)
        if not path.exists() and len(self.listed()) >= MOST_SESSIONS:
            raise ConflictError(f"expected fewer than {MOST_SESSIONS} sessions beside a new one: delete some")
        with model.session(tokens) as session:
            try:
                session.save(path)
            except OSError as error:
                reason = error.strerror or str(error).rpartition(": ")[2]
                raise StorageError(f"expected room to save {name}, found none: {reason}") from error
        try:
            about = path.stat()
        except FileNotFoundError:
            raise ConflictError(
                f"session {name}: expected the file just saved, found it deleted: save it again"
            ) from None
        return Saved(name, about.st_size, about.st_mtime)

    def load(self, name: str, model: Model) -> int:
        """Puts what a file has of a conversation into the model's memory, and returns how many tokens the conversation
        has. Raises BodyError, NotFoundError, and ConflictError for a file of another model or a damaged one.
        """
        path = self.path(name)
        try:
            with model.load_session(path) as session:
                return len(session.tokens)
        except FileNotFoundError:
            raise _absent(name) from None
        except SessionFileError as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise ConflictError(f"session {name}: {reason}") from None

    def delete(self, name: str) -> None:
        """Raises BodyError, NotFoundError."""
        try:
            self.path(name).unlink()
        except FileNotFoundError:
            raise _absent(name) from None

    def close(self) -> None:
        """Another server may use the folder."""
        os.close(self._lock)

    def _entries(self) -> list[os.DirEntry[str]]:
        with os.scandir(self._folder) as entries:
            return [entry for entry in entries if entry.is_file(follow_symlinks=False)]


def _absent(name: str) -> NotFoundError:
    return NotFoundError(f"expected the name of a saved session, found {shown(name)}")
