"""Processes that get one core's time by a cgroup's quota, as a container's `--cpus 1` gives it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PERIOD = 100_000  # microseconds, what container runtimes set


@contextlib.contextmanager
def one_core_quota(root: Path = Path("/sys/fs/cgroup")) -> Iterator[tuple[str, ...] | None]:
    """The words before a command that run it so; None where this process may not make a cgroup."""
    name = f"qwen3edge-bench-{os.getpid()}"
    if (root / "cgroup.controllers").is_file():
        group, settings = root / name, {"cpu.max": f"{PERIOD} {PERIOD}"}
    else:  # version 1
        group = root / "cpu" / name
        settings = {"cpu.cfs_period_us": str(PERIOD), "cpu.cfs_quota_us": str(PERIOD)}
    try:
        group.mkdir()
    except OSError:
        yield None
        return
    try:
        try:
            for file, text in settings.items():
                (group / file).write_text(text)
        except OSError:  # the cpu controller is not ours to use
            yield None
        else:
            yield ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group))
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()
