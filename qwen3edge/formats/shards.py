"""The files of a checkpoint, held open: opened with the same checks and read with `pread`, whichever their format."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge.closing import Closing
from qwen3edge.errors import CheckpointError, MissingShardError

_DROPPED = -1  # in place of a descriptor


class Shards(Closing):
    """A context manager; shards are numbered in the order in which they were opened."""

    def __init__(self) -> None:
        self._descriptors: list[int] = []
        self._paths: list[Path] = []

    @property
    def paths(self) -> tuple[Path, ...]:
        """Of the shards that were opened."""
        return tuple(self._paths)

    def close(self) -> None:
        """Closes the shards."""
        while self._descriptors:
            if (descriptor := self._descriptors.pop()) != _DROPPED:
                os.close(descriptor)

    def drop(self, path: Path) -> None:
        """Closes one shard, of which nothing is read any more."""
        shard = self._paths.index(path)
        os.close(self._descriptors[shard])
        self._descriptors[shard] = _DROPPED

    def _open(self, path: Path) -> int:
        """The descriptor of one more shard. Raises MissingShardError for what is no file that can be read."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would keep us waiting
        except FileNotFoundError:
            raise MissingShardError(f"{path}: the checkpoint needs this file, which is absent") from None
        except OSError as error:
            raise MissingShardError(f"{path}: cannot open: {error.strerror}") from None
        self._descriptors.append(descriptor)
        self._paths.append(path)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise MissingShardError(f"{path}: expected a file, found a directory or a device")
        return descriptor

    def _read(self, shard: int, offset: int, out: NDArray[Any], what: str) -> None:
        """Fills a contiguous array. May be called from several threads. Raises CheckpointError at the file's end."""
        view = memoryview(out.reshape(-1).view(np.uint8).data)
        while view:
            count = os.preadv(self._descriptors[shard], [view], offset)
            if count == 0:
                raise CheckpointError(f"{self._paths[shard]}: the file shrank while {what} was read")
            offset, view = offset + count, view[count:]
