"""What is watched while a server is attacked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx

from bench.process_memory import anonymous, memory_of


def amount(default: int) -> int:
    """Of requests; QWEN3EDGE_REQUESTS is another. Each test says how many a full run has."""
    return int(os.environ.get("QWEN3EDGE_REQUESTS") or default)


class Watched:
    """The process of a server that `serve` has started."""

    def __init__(self, client: httpx.Client) -> None:
        self.client, self.process = client, client.process  # type: ignore[attr-defined]
        url = client.base_url
        self.address = (url.host, url.port or 80)

    def status(self) -> dict[str, int]:
        """In bytes: VmHWM, and `anonymous`, which is RssAnon and VmSwap; and numbers of threads and open files."""
        found = memory_of(self.process.pid)
        return {
            "peak": found["VmHWM"],
            "anonymous": anonymous(found),
            "threads": found["Threads"],
            "files": len(list(Path(f"/proc/{self.process.pid}/fd").iterdir())),
        }

    def props(self) -> dict[str, Any]:
        found = self.client.get("/props").json()
        assert isinstance(found, dict)
        return found

    def busy(self) -> int:
        """Answers that are computed or wait."""
        counts = [model["counts"] for model in self.props()["models"].values() if model["loaded"]]
        return sum(each["running"] + each["waiting"] for each in counts)

    def assert_unharmed(self) -> None:
        """It runs, computes nothing, and is within its budget."""
        assert self.process.poll() is None
        assert self.busy() == 0
        assert self.status()["peak"] <= self.props()["memory"]["budget"]

    def end(self) -> str:
        """What it wrote to its error stream."""
        self.process.terminate()
        _, said = self.process.communicate(timeout=60)
        return str(said)
