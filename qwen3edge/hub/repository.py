"""What a hub says of a repository. Nothing of it is believed: names, sizes, hashes are checked before they are used."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from qwen3edge.errors import HubError, shown

MAX_FILES = 100_000
MAX_BYTES = 1 << 40  # of a file
_MAX_PATH = 512  # characters
_DIGESTS = {"sha256": 64, "git": 40}  # hexadecimal digits
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository. kind: "sha256"; "git", the SHA-1 that git gives a blob; or "" where the hub tells no
    hash, and digest is one of the revision and the path then.
    """

    path: str
    nbytes: int
    kind: str
    digest: str

    @property
    def key(self) -> str:
        """The same for the same content: a name for its file in the cache."""
        return f"{self.kind or 'revision'}-{self.digest}"

    def hasher(self) -> hashlib._Hash:
        """What the content is to be put through; nothing compares the result where the hub tells no hash."""
        if self.kind != "git":
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self.nbytes, usedforsecurity=False)


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one moment, by their paths."""

    repository: str
    revision: str
    files: Mapping[str, RemoteFile]


@dataclass(frozen=True)
class Told:
    """A file as the hub's answer has it, of whatever types. hashes: by kind."""

    path: object
    nbytes: object
    hashes: Mapping[str, object]


def checked_listing(repository: str, revision: object, told: Iterable[Told]) -> Listing:
    """Raises HubError for what no hub of good will says."""
    if not isinstance(revision, str) or not _REVISION.fullmatch(revision):
        raise HubError(f"{repository}: expected the name of a revision, found {shown(revision)}")
    files: dict[str, RemoteFile] = {}
    for entry in told:
        if len(files) == MAX_FILES:
            raise HubError(f"{repository}: expected at most {MAX_FILES} files, found more")
        file = _checked(repository, revision, entry)
        files[file.path] = file
    return Listing(repository, revision, files)


def _checked(repository: str, revision: str, told: Told) -> RemoteFile:
    path = told.path
    plain = isinstance(path, str) and 0 < len(path) <= _MAX_PATH and path.isprintable() and "\\" not in path
    if not plain or any(part in ("", ".", "..") for part in str(path).split("/")):
        raise HubError(f"{repository}: expected the paths of files below the repository, found {shown(path)}")
    nbytes = told.nbytes
    if type(nbytes) is not int or not 0 <= nbytes <= MAX_BYTES:
        raise HubError(f"{repository}: {path}: expected a size of at most {MAX_BYTES:,} bytes, found {shown(nbytes)}")
    for kind, digits in _DIGESTS.items():
        digest = told.hashes.get(kind)
        if digest is None or digest == "":
            continue
        if not isinstance(digest, str) or not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", digest):
            raise HubError(f"{repository}: {path}: expected {digits} hexadecimal digits, found {shown(digest)}")
        return RemoteFile(str(path), nbytes, kind, digest.lower())
    unnamed = hashlib.sha256(f"{revision}/{path}/{nbytes}".encode()).hexdigest()
    return RemoteFile(str(path), nbytes, "", unnamed)


@dataclass(frozen=True)
class Stream:
    """Bytes of a file as they come. start: the first one's place in it. total: bytes of the whole, if the server says
    so.
    """

    start: int
    total: int | None
    chunks: Iterator[bytes]


class InterruptedTransfer(Exception):
    """The network or the server failed in a way that may pass. seconds: after which the server wants to be asked."""

    def __init__(self, why: str, seconds: float | None = None) -> None:
        super().__init__(why)
        self.seconds = seconds


class Hub(Protocol):
    """A place that has repositories. source: its name in the cache."""

    source: str

    def listing(self, repository: str) -> Listing:
        """What is in a repository now. Raises HubError, InterruptedTransfer."""
        ...

    def stream(self, listing: Listing, path: str, start: int) -> AbstractContextManager[Stream]:
        """A file from byte `start` on, if the server can do that. Raises HubError, InterruptedTransfer, also while it
        is read.
        """
        ...

    def in_own_cache(self, listing: Listing, path: str) -> Path | None:
        """The file where the hub's own client has stored it before, not checked."""
        ...


def require_success(status: int, retry_after: str | None, what: str, token: str) -> None:
    """what: was asked for. token: the variable that would hold one. Raises HubError, InterruptedTransfer."""
    if status < 300:
        return
    if status in (408, 429) or status >= 500:
        raise InterruptedTransfer(f"{what}: HTTP {status}", _seconds(retry_after))
    if status in (401, 403):
        raise HubError(
            f"{what}: private, gated or not there (HTTP {status}); for a private or gated model put a token that may "
            f"read it into {token}, and accept its terms on the hub's page"
        )
    if status == 404:
        raise HubError(f"{what}: not there (HTTP 404)")
    raise HubError(f"{what}: expected success, found HTTP {status}")


def stream_place(status: int, headers: Mapping[str, str], what: str) -> tuple[int, int | None]:
    """Where the body of a response begins in the file, and how large that is. Raises HubError."""
    if status != 206:
        length = headers.get("content-length", "")
        plain = headers.get("content-encoding", "identity") in ("", "identity")
        return 0, int(length) if plain and re.fullmatch(r"\d{1,15}", length, re.ASCII) else None
    found = re.fullmatch(r"bytes (\d{1,15})-\d{1,15}/(\d{1,15}|\*)", headers.get("content-range", ""), re.ASCII)
    if found is None:
        raise HubError(f"{what}: expected a Content-Range, found {shown(headers.get('content-range'))}")
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _seconds(retry_after: str | None) -> float | None:
    found = re.fullmatch(r"\d{1,6}(\.\d{1,3})?", retry_after or "", re.ASCII)
    return float(found[0]) if found else None
