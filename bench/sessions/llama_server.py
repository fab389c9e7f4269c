"""llama.cpp's server with some slots, asked by a thread for each."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.quiet import BenchError
from bench.sessions.readers import PATIENCE, Sampling

SLOTS = 8
STARTS = 120.0  # seconds until it must have loaded its model


class LlamaServer(contextlib.AbstractContextManager["LlamaServer"]):
    """A process that listens on this machine alone, until it is closed. context: tokens of a slot."""

    def __init__(self, program: Path, model: Path, threads: int, context: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._url = f"http://127.0.0.1:{free.getsockname()[1]}"
        words = [program, "-m", model, "-t", threads, "-np", SLOTS, "-c", SLOTS * context, "--no-webui"]
        words += ["--cache-type-k", "q8_0", "--cache-type-v", "q8_0", "-fa", "on", "--cache-ram", 0]
        words += ["--host", "127.0.0.1", "--port", self._url.rpartition(":")[2]]
        self._words = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  (until `close`)
        self._process = subprocess.Popen([str(word) for word in words], stdout=self._words, stderr=subprocess.STDOUT)
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def tokens_per_second(self, prompts: Sequence[Sequence[int]], count: int, sampling: Sampling) -> float:
        """Of as many requests at once, each in a slot that keeps its prompt from call to call."""
        with ThreadPoolExecutor(len(prompts)) as threads:
            start = time.perf_counter()
            found = list(threads.map(lambda n: self._complete(n, prompts[n], count, sampling), range(len(prompts))))
            seconds = time.perf_counter() - start
        if any(each["tokens_predicted"] != count for each in found):
            raise BenchError(f"llama-server was asked for {count} tokens; found {found[0]['tokens_predicted']}")
        return len(prompts) * count / seconds

    def _complete(self, slot: int, prompt: Sequence[int], count: int, sampling: Sampling) -> dict[str, Any]:
        asked = {"prompt": list(prompt), "id_slot": slot, "n_predict": count, "ignore_eos": True, "cache_prompt": True}
        return self._post("/completion", {**asked, "seed": slot, "stream": False, "repeat_penalty": 1.0, **sampling})

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            self._url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (OSError, ValueError) as error:
            raise BenchError(f"llama-server: {path}: {error}") from error

    def _wait(self) -> None:
        until = time.monotonic() + STARTS
        while time.monotonic() < until and self._process.poll() is None:
            try:
                with urllib.request.urlopen(self._url + "/health", timeout=5):
                    return
            except (OSError, urllib.error.URLError):
                time.sleep(0.2)
        self._words.seek(0)
        last = [line for line in self._words.read().splitlines() if line.strip()][-1:]
        raise BenchError(f"llama-server did not start: {last[0] if last else 'no message'}")

    def close(self) -> None:
        """Ends the process."""
        self._process.terminate()
        self._process.wait()
        self._words.close()

    def __exit__(self, *_: object) -> None:
        self.close()
