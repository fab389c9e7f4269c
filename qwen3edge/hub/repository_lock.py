"""One process at a time fetches or removes what is of a repository."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable

from qwen3edge.closing import Closing
from qwen3edge.errors import RequestError
from qwen3edge.hub import cache


class RepositoryLock(Closing):
    """Held until it is closed, or until the process ends, however it ends. The file itself stays: one that another
    process waits for must not be replaced.
    """

    def __init__(self, source: str, repository: str, *, wait: bool, waits: Callable[[], None] = lambda: None) -> None:
        """waits: called once if another process has it. Raises RequestError then if wait is False."""
        path = cache.lock_path(source, repository)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        with self.closed_on_failure():
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise RequestError(
                        f"{repository}: another process is pulling or removing it; try again when it has ended"
                    ) from None
                waits()
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def close(self) -> None:
        """Gives it to the next."""
        os.close(self._descriptor)
