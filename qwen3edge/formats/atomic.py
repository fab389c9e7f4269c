"""A file that appears under its name when it is complete; what a killed writer left, the next one to that name removes.

While it is written, the file has a name that readers refuse (csrc/io/model_file.cpp, formats/gguf.py).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from qwen3edge.closing import Closing
from qwen3edge.errors import CheckpointError, RequestError

SUFFIX = ".part"
# Linux keeps what is written in the largest pages that one write fills: after whole writes of 2 MiB a file can
# be mapped in large pages, which decode reads faster (docs/memory.md).
BLOCK = 2 << 20
_TOKEN_DIGITS = 16
_LONGEST_NAME = 255  # bytes, of most file systems
# What file systems answer that have nothing to bring to a disk at this call (CIFS, WSL's DrvFs, FUSE).
_NOTHING_TO_SYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})


def require_no_input(target: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """inputs: files, and folders of files, that the target is made of. Raises RequestError where it is one of them."""
    place = os.path.realpath(target)
    for path in inputs:
        folder = Path(path)
        files = [f for f in folder.iterdir() if f.suffix != ".q3e"] if folder.is_dir() else [folder]
        if any(os.path.realpath(file) == place for file in files):
            raise RequestError(f"{target}: expected a name of its own for what is written, found a file that is read")


class AtomicFile(Closing):
    """Use it in a `with` statement: leaving it without `commit` removes what was written."""

    _temporary: Path | None
    _file: FileIO

    def __init__(self, target: str | os.PathLike[str], nbytes: int):
        """nbytes: of free space that must be there: what will be written, or less where something else goes meanwhile.
        Raises CheckpointError for a target that cannot be a file and a full disk.
        """
        self._block, self._filled = memoryview(bytearray(BLOCK)), 0
        self.target = Path(os.path.realpath(target))
        if self.target.is_dir():
            raise CheckpointError(f"{target}: expected the name of a file to write, found a directory")
        if self.target.exists() and not self.target.is_file():
            raise CheckpointError(f"{target}: expected the name of a file to write, found a device or a pipe")
        if not self.target.parent.is_dir():
            raise CheckpointError(f"{self.target.parent}: expected a directory to write into, found none")
        _remove_stale(self.target)
        _require_space(self.target.parent, nbytes)
        self._temporary, self._file = _create_temporary(self.target)

    def write(self, data: bytes | NDArray[Any]) -> None:
        """The next bytes."""
        if len(data) == 0:  # which cannot be viewed as bytes
            return
        rest = memoryview(data) if isinstance(data, bytes) else data.reshape(-1).data.cast("B")
        while rest:
            if self._filled == 0 and len(rest) >= BLOCK:
                whole = len(rest) // BLOCK * BLOCK
                self._write_through(rest[:whole])
            else:
                whole = min(len(rest), BLOCK - self._filled)
                self._block[self._filled : self._filled + whole] = rest[:whole]
                self._filled += whole
                if self._filled == BLOCK:
                    self._flush()
            rest = rest[whole:]

    def _flush(self) -> None:
        filled, self._filled = self._filled, 0
        self._write_through(self._block[:filled])

    def _write_through(self, data: memoryview) -> None:
        while data:
            data = data[self._file.write(data) :]

    def commit(self) -> None:
        """Brings all to the disk, and only then gives the file its name."""
        self._flush()
        sync(self._file.fileno())
        assert self._temporary is not None
        os.replace(self._temporary, self.target)
        self._temporary = None
        self._file.close()
        sync_directory(self.target.parent)

    def close(self) -> None:
        """Removes what was written, unless it was committed."""
        if self._temporary is None:
            return
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)
        self._temporary = None
        self._file.close()


class AtomicFolder(Closing):
    """A folder that appears under its name when it is complete; used like AtomicFile.

    What a killed writer left stays, hidden and with SUFFIX: folders have no lock that tells whether a writer lives.
    """

    def __init__(self, target: str | os.PathLike[str], nbytes: int):
        """nbytes: that will be written. Raises CheckpointError for a target that is there already and a full disk."""
        self.target = Path(os.path.abspath(target))
        if os.path.lexists(self.target):
            raise CheckpointError(f"{target}: expected the name of a new folder, found one that exists")
        if not self.target.parent.is_dir():
            raise CheckpointError(f"{self.target.parent}: expected a directory to write into, found none")
        _require_space(self.target.parent, nbytes)
        token = secrets.token_hex(_TOKEN_DIGITS // 2)
        self.path = self.target.with_name(f"{_prefix(self.target)}{token}{SUFFIX}")
        self.path.mkdir()

    def write_text(self, name: str, text: str) -> None:
        """A small file of its own."""
        with open(self.path / name, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            sync(file.fileno())

    def commit(self) -> None:
        """Gives the folder its name."""
        sync_directory(self.path)
        os.rename(self.path, self.target)
        sync_directory(self.target.parent)

    def close(self) -> None:
        """Removes what was written, unless it was committed."""
        shutil.rmtree(self.path, ignore_errors=True)


def _prefix(target: Path) -> str:
    """How its temporary names begin; a name that leaves no room for more is told apart by its hash."""
    name = os.fsencode(target.name)
    if len(name) > _LONGEST_NAME - len("..") - _TOKEN_DIGITS - len(SUFFIX):
        return f".{hashlib.sha256(name).hexdigest()[:32]}."
    return f".{target.name}."


def _create_temporary(target: Path) -> tuple[Path, FileIO]:
    """A new file beside the target, locked: the lock says that its writer lives, in whichever container."""
    while True:
        path = target.with_name(f"{_prefix(target)}{secrets.token_hex(_TOKEN_DIGITS // 2)}{SUFFIX}")
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "wb", buffering=0)
        with contextlib.suppress(OSError):  # a file system without locks: the file may be taken for a stale one
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_nlink:  # else another convert took it for a stale one before it was locked
            return path, file
        file.close()


def _remove_stale(target: Path) -> None:
    """Removes temporary files for this target whose writers are dead."""
    prefix = _prefix(target)
    try:
        entries = list(os.scandir(target.parent))
    except PermissionError:  # a folder to write into only
        return
    for entry in entries:
        middle = entry.name[len(prefix) : -len(SUFFIX)]
        ours = entry.name == f"{prefix}{middle}{SUFFIX}" and len(middle) == _TOKEN_DIGITS and "." not in middle
        if not ours or not entry.is_file(follow_symlinks=False):
            continue
        with contextlib.suppress(OSError):  # locked: its writer lives
            descriptor = os.open(entry.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(entry.path)
            finally:
                os.close(descriptor)


def _require_space(directory: Path, nbytes: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < nbytes:
        raise CheckpointError(f"{directory}: expected {nbytes:,} bytes of free space for the model, found {free:,}")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write a small file under, which then replaces the one at `path` at once."""
    temporary = path.with_name(f"{path.name}{SUFFIX}")
    yield temporary
    os.replace(temporary, path)


def sync(descriptor: int) -> None:
    """Brings a file or a folder to the disk, where its file system has such a thing."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOTHING_TO_SYNC:
            raise


def sync_directory(directory: Path) -> None:
    """Brings the names in it to the disk, if this process may read it: to write into it is enough to make files."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    except PermissionError:
        return
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
