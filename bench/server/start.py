"""From the start of `qwen3edge serve` to the first token of a chat, beyond what FastAPI and uvicorn take to import.

    python -m bench.server.start --model X.q3e --rounds 7

Every sample is a fresh process, of a file that lies in the page cache, in turns with a process that imports fastapi and
uvicorn alone. `ready` is the line that says where the server listens, `first token` what a stream then brings first,
each from the start of the process on; `beyond` is the first token's time without that of the imports, and `target`
says whether its median is small enough.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.harness import BenchError, Measured, Report, describe_machine, existing, main, positive, usable_threads
from bench.peers import read_through

TARGET_MS = 350
BODY = {
    "messages": [{"role": "user", "content": "What is 12 + 7?"}], "stream": True, "temperature": 0, "max_tokens": 16,
    "reasoning_effort": "none", "ignore_eos": True,
}  # fmt: skip


@dataclass(frozen=True)
class Start:
    """Seconds from the start of the process on, and the piece that came first."""

    ready: float
    first: float
    text: str


def _environment() -> dict[str, str]:
    """This process's, but that Python keeps what it compiles, as of a package that pip has installed."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextlib.contextmanager
def server(model: Path, threads: int) -> Iterator[subprocess.Popen[str]]:
    """Its process, which is gone at the end."""
    command = [sys.executable, "-m", "qwen3edge", "serve", model, "--port", "0", "--threads", str(threads)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment())
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def listening(process: subprocess.Popen[str]) -> str:
    """Host and port, once the server has said so. Raises BenchError."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if "http://" not in line:
        raise BenchError(f"expected a server that says where it listens, found {line!r}")
    return line.partition("http://")[2].partition(" ")[0]


def stream_of(host: str) -> Iterator[str]:
    """The pieces of a chat's answer, as they come."""
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request("POST", "/v1/chat/completions", json.dumps(BODY))
    response = connection.getresponse()
    while data := response.readline():
        if not data.startswith(b"data: {"):
            continue
        delta = json.loads(data[6:])["choices"][0]["delta"]
        if text := delta.get("content") or delta.get("reasoning_content"):
            yield text


def own_start(model: Path, threads: int) -> Start:
    """One process of ours."""
    begun = time.perf_counter()
    with server(model, threads) as process:
        host = listening(process)
        ready = time.perf_counter() - begun
        for text in stream_of(host):
            return Start(ready, time.perf_counter() - begun, text)
    raise BenchError("expected a token, found the end of the stream")


def import_seconds() -> float:
    """Of a process that does nothing else, until it has done so."""
    begun = time.perf_counter()
    command = [sys.executable, "-c", "import fastapi, uvicorn; print('done', flush=True)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment()) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "done\n":
            raise BenchError("expected fastapi and uvicorn (pip install 'qwen3edge[serve]'), found an error above")
        return time.perf_counter() - begun


def bench(arguments: argparse.Namespace) -> Report:
    report = Report("Server start to first token", describe_machine())
    threads = usable_threads(arguments.threads)
    read_through(arguments.model)
    own_start(arguments.model, threads)  # compiles Python's files
    starts: list[Start] = []
    imports: list[float] = []
    for number in range(arguments.rounds):
        imports.append(import_seconds())
        starts.append(own_start(arguments.model, threads))
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
    texts = {start.text for start in starts}
    report.accept("target", True, "")
    report.accept("start", len(texts) == 1, f"expected one first token, found {texts}")
    beyond = [start.first - took for start, took in zip(starts, imports, strict=True)]
    rows = {
        what: Measured("start", "ms", tuple(1e3 * each for each in seconds))
        for what, seconds in (
            ("import fastapi, uvicorn", imports),
            ("ready", [start.ready for start in starts]),
            ("first token", [start.first for start in starts]),
            ("beyond", beyond),
        )
    }
    for what, found in rows.items():
        report.add("start", what=what, ms=found.text())
    report.notes.append(f"medians of {arguments.rounds} processes (smallest to largest), {threads} threads")
    most = rows["beyond"].median
    report.add(
        "target", what=f"beyond at most {TARGET_MS} ms", ms=most, target="met" if most <= TARGET_MS else "missed"
    )
    return report


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=existing, required=True, help="a .q3e file")
    options.add_argument("--threads", type=positive, help="default: as many as the process may use")
    options.add_argument("--rounds", type=positive, default=7)
    return options


if __name__ == "__main__":
    sys.exit(main(bench, parser()))
