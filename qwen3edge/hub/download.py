"""Fetches files into a folder where each is named by its content. What broke off goes on where it stopped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from qwen3edge.errors import HubError
from qwen3edge.formats.atomic import SUFFIX, sync, sync_directory
from qwen3edge.hub.patience import Patience
from qwen3edge.hub.repository import Hub, InterruptedTransfer, Listing, RemoteFile
from qwen3edge.hub.steps import Show, Step

_BLOCK = 4 << 20
_SYNCED = 64 << 20  # bytes after which what has come is sure to be there after a crash of the machine


class Download:
    """Of some files of one repository into one folder, whose lock the caller holds."""

    def __init__(self, hub: Hub, listing: Listing, folder: Path, show: Show) -> None:
        self._hub, self._listing, self._folder, self._show = hub, listing, folder, show
        self._done = self._total = 0
        self._elsewhere: dict[RemoteFile, Path | None] = {}  # what was looked for and checked outside of the folder

    def missing_bytes(self, files: Sequence[RemoteFile]) -> int:
        """That are still to come."""
        return sum(file.nbytes - self._partial(file) for file in files if self._place(file) is None)

    def fetch(self, files: Sequence[RemoteFile]) -> dict[RemoteFile, Path]:
        """Each where it is then. Raises HubError, OSError."""
        self._total = sum(file.nbytes for file in files)
        self._done = 0
        places = {}
        for file in files:
            place = self._place(file)
            if place is None:
                place = self._fetch(file)
            else:
                self._done += file.nbytes
            places[file] = place
        return places

    def _place(self, file: RemoteFile) -> Path | None:
        """Where a file is complete: in the folder, or in the cache of the hub's own client, which is as good."""
        own = self._folder / file.key
        if own.is_file() and own.stat().st_size == file.nbytes:
            return own
        if file not in self._elsewhere:
            other = self._hub.in_own_cache(self._listing, file.path)
            self._elsewhere[file] = other if other is not None and self._has(other, file) else None
        return self._elsewhere[file]

    def _has(self, path: Path, file: RemoteFile) -> bool:
        """Whether the content at a path is the file's."""
        try:
            with open(path, "rb") as stored:
                return os.fstat(stored.fileno()).st_size == file.nbytes and self._matches(file, stored.fileno())
        except OSError:
            return False

    def _matches(self, file: RemoteFile, descriptor: int) -> bool:
        if not file.kind:
            return True
        digest, done = file.hasher(), 0
        os.lseek(descriptor, 0, os.SEEK_SET)
        while block := os.read(descriptor, _BLOCK):
            digest.update(block)
            done += len(block)
            self._show(Step("checking", file.path, done, file.nbytes))
        return digest.hexdigest() == file.digest

    def _partial(self, file: RemoteFile) -> int:
        with suppress(OSError):
            return min(os.stat(f"{self._folder / file.key}{SUFFIX}").st_size, file.nbytes)
        return 0

    def _fetch(self, file: RemoteFile) -> Path:
        """A second time from its beginning if the content is not what the hub promised: a part of it may be older."""
        target, begun = self._folder / file.key, self._done
        for _ in range(2):
            self._done = begun
            if self._write(file, Path(f"{target}{SUFFIX}"), target):
                return target
        raise HubError(
            f"{self._listing.repository}: {file.path}: expected content with the {file.kind} hash {file.digest}, found "
            "another, twice; nothing of it is kept"
        )

    def _write(self, file: RemoteFile, part: Path, target: Path) -> bool:
        """Whether the content was right; else nothing of it is left."""
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            if os.fstat(descriptor).st_size > file.nbytes:
                os.ftruncate(descriptor, 0)
            self._receive(file, descriptor)
            if not self._matches(file, descriptor):
                os.unlink(part)
                return False
            sync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(part, target)
        sync_directory(self._folder)
        return True

    def _receive(self, file: RemoteFile, descriptor: int) -> None:
        """Appends what is missing."""
        patience, begun = Patience(), self._done
        while (have := os.lseek(descriptor, 0, os.SEEK_END)) < file.nbytes:
            try:
                with self._hub.stream(self._listing, file.path, have) as stream:
                    if stream.total not in (None, file.nbytes):
                        raise HubError(
                            f"{self._listing.repository}: {file.path}: expected {file.nbytes:,} bytes as listed, found "
                            f"{stream.total:,}"
                        )
                    if stream.start not in (0, have):
                        raise HubError(
                            f"{self._listing.repository}: {file.path}: expected what follows byte {have:,}, found what "
                            f"follows {stream.start:,}"
                        )
                    if stream.start != have:  # the server does not know ranges
                        os.ftruncate(descriptor, 0)
                    have = os.lseek(descriptor, stream.start, os.SEEK_SET)
                    unsynced = 0
                    for chunk in stream.chunks:
                        have += len(chunk)
                        if have > file.nbytes:
                            raise HubError(
                                f"{self._listing.repository}: {file.path}: expected {file.nbytes:,} bytes as listed, "
                                "found more"
                            )
                        _write_all(descriptor, chunk)
                        unsynced += len(chunk)
                        if unsynced >= _SYNCED:
                            sync(descriptor)
                            unsynced = 0
                        patience.progressed()
                        self._done = begun + have
                        self._show(Step("downloading", file.path, self._done, self._total))
                if have < file.nbytes:
                    raise InterruptedTransfer(f"{self._listing.repository}: {file.path}: {have:,} bytes came")
            except InterruptedTransfer as error:
                patience.wait(error)
        self._done = begun + file.nbytes


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
