"""Processes in a cgroup: with one core's time, as a container's `--cpus 1` gives it, or with so much memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PERIOD = 100_000  # microseconds, what container runtimes set


@contextlib.contextmanager
def one_core_quota(root: Path = ROOT) -> Iterator[tuple[str, ...] | None]:
    """The words before a command that run it so; None where this process may not make a cgroup."""
    unified = {"cpu.max": f"{PERIOD} {PERIOD}"}
    with _group(root, "cpu", unified, {"cpu.cfs_period_us": str(PERIOD), "cpu.cfs_quota_us": str(PERIOD)}) as words:
        yield words


@contextlib.contextmanager
def memory_limit(nbytes: int, root: Path = ROOT) -> Iterator[tuple[str, ...] | None]:
    """The same of at most `nbytes` of memory, the pages of files that it reads included."""
    with _group(root, "memory", {"memory.max": str(nbytes)}, {"memory.limit_in_bytes": str(nbytes)}) as words:
        yield words


@contextlib.contextmanager
def _group(
    root: Path, controller: str, unified: Mapping[str, str], settings: Mapping[str, str]
) -> Iterator[tuple[str, ...] | None]:
    """unified: settings of version 2, by file; settings: of version 1's controller."""
    name = f"qwen3edge-bench-{os.getpid()}"
    if (root / "cgroup.controllers").is_file():
        group, settings = root / name, unified
    else:
        group = root / controller / name
    try:
        group.mkdir()
    except OSError:
        yield None
        return
    try:
        try:
            for file, text in settings.items():
                (group / file).write_text(text)
        except OSError:  # the controller is not ours to use
            yield None
        else:
            yield ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group))
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()
