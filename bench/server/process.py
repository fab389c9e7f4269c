"""A server as a process of its own: ours, or llama.cpp's."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.peers import LLAMA_SERVER
from bench.process_memory import memory_of
from bench.quiet import BenchError

STARTS = 120.0  # seconds until it must have loaded its model


class Server(contextlib.AbstractContextManager["Server"]):
    """Listens on this machine alone, until it is closed. command: what starts it on a port. Raises BenchError if it
    does not answer in time.
    """

    def __init__(self, name: str, command: Callable[[int], Sequence[object]]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.name, self.url = name, f"http://127.0.0.1:{port}"
        self._words = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  (until `close`)
        words = [str(word) for word in command(port)]
        self._process = subprocess.Popen(words, stdout=self._words, stderr=subprocess.STDOUT)
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def peak_bytes(self) -> int:
        """The largest resident set so far, mapped pages included."""
        return memory_of(self._process.pid)["VmHWM"]

    def _wait(self) -> None:
        until = time.monotonic() + STARTS
        while time.monotonic() < until and self._process.poll() is None:
            try:
                with urllib.request.urlopen(self.url + "/health", timeout=5):
                    return
            except (OSError, urllib.error.URLError):
                time.sleep(0.05)
        self._words.seek(0)
        last = [line for line in self._words.read().splitlines() if line.strip()][-1:]
        raise BenchError(f"{self.name} did not start: {last[0] if last else 'no message'}")

    def close(self) -> None:
        """Ends the process."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._words.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def own_server(model: Path, *, threads: int, context: int, sequences: int) -> Server:
    """context: tokens of an answer and its prompt."""
    options = ["--threads", threads, "--context", context, "--sequences", sequences, "--grace", 1]
    return Server(
        "qwen3edge", lambda port: [sys.executable, "-m", "qwen3edge", "serve", model, "--port", port, *options]
    )


def why_no_llama(peer_model: Path | None) -> str | None:
    """Why there is no llama-server to compare with; None: there is one."""
    if LLAMA_SERVER.find() is None:
        return LLAMA_SERVER.absent()
    return "llama-server: no --peer-model" if peer_model is None else None


def llama_server(model: Path, *, threads: int, context: int, slots: int) -> Server:
    """With an 8-bit cache, and one for each slot alone. Raises BenchError where it is absent."""
    options = ["-t", threads, "-np", slots, "-c", slots * context, "--no-webui", "--cache-ram", 0]
    options += ["--cache-type-k", "q8_0", "--cache-type-v", "q8_0", "-fa", "on", "--host", "127.0.0.1"]
    program = LLAMA_SERVER.path()
    return Server("llama-server", lambda port: [program, "-m", model, *options, "--port", port])
