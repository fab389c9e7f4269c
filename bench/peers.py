"""Other engines to compare with: found by environment variable or on PATH, and named when absent.

| variable | what it names |
| --- | --- |
| QWEN3EDGE_LLAMA_BENCH | llama.cpp's llama-bench |
| QWEN3EDGE_IK_LLAMA_BENCH | ik_llama.cpp's llama-bench |
| QWEN3EDGE_LLAMA_QUANTIZE | llama.cpp's llama-quantize |
| QWEN3EDGE_LLAMA_CONVERT | llama.cpp's convert_hf_to_gguf.py |
| QWEN3EDGE_LLAMA_PYTHON | the interpreter that has what the script imports; this one by default |
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import BenchError


@dataclass(frozen=True)
class Tool:
    """A program of a peer that may be absent."""

    peer: str
    program: str
    variable: str
    on_path: bool = True

    def find(self, environment: Mapping[str, str] = os.environ) -> Path | None:
        """A variable that names no file is an error, an unset one means: look on PATH."""
        named = environment.get(self.variable)
        if named:
            path = Path(named).expanduser()
            if not path.is_file():
                raise BenchError(f"{self.variable} names {named}, which is no file")
            return path
        found = shutil.which(self.program, path=environment.get("PATH")) if self.on_path else None
        return Path(found) if found else None

    def absent(self) -> str:
        return f"{self.peer}: absent ({self.program} is not on PATH and {self.variable} is not set)"


LLAMA_BENCH = Tool("llama.cpp", "llama-bench", "QWEN3EDGE_LLAMA_BENCH")
IK_LLAMA_BENCH = Tool("ik_llama.cpp", "llama-bench", "QWEN3EDGE_IK_LLAMA_BENCH", on_path=False)
LLAMA_QUANTIZE = Tool("llama.cpp", "llama-quantize", "QWEN3EDGE_LLAMA_QUANTIZE")
LLAMA_CONVERT = Tool("llama.cpp", "convert_hf_to_gguf.py", "QWEN3EDGE_LLAMA_CONVERT")
MODEL_BENCHES = (LLAMA_BENCH, IK_LLAMA_BENCH)


@dataclass(frozen=True)
class Finished:
    """A child process that ended with status 0."""

    stdout: str
    seconds: float
    peak_bytes: int  # largest resident set, mapped pages included


def run(command: Sequence[str | Path], timeout: float = 3600.0) -> Finished:
    """Runs a child to its end; raises BenchError with its last words when it fails, or after `timeout` seconds."""
    words = [str(word) for word in command]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        _forget_own_peak()
        start = time.perf_counter()
        try:
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        except OSError as error:
            raise BenchError(f"cannot run {words[0]}: {error.strerror}") from error
        status, peak = _wait(child.pid, timeout)
        seconds = time.perf_counter() - start
        child.returncode = status
        if status == -signal.SIGKILL and seconds >= timeout:
            raise BenchError(f"{Path(words[0]).name} took longer than {timeout:.0f} s and was stopped")
        if status != 0:
            err.seek(0)
            last = [line for line in err.read().splitlines() if line.strip()][-1:] or ["no message"]
            how = f"signal {-status}" if status < 0 else f"status {status}"
            raise BenchError(f"{Path(words[0]).name} ended with {how}: {last[0].strip()}")
        out.seek(0)
        return Finished(out.read(), seconds, peak)


def _forget_own_peak() -> None:
    """A child's peak starts at its parent's (Linux, at exec): take that back to what this process holds now."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass  # not Linux, or not allowed: peaks are then never below this process's own


def _wait(pid: int, timeout: float) -> tuple[int, int]:
    """The exit status and the peak resident set in bytes; wait4 gives both, subprocess only the first."""
    previous = signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, timeout)
    try:
        _, status, usage = os.wait4(pid, 0)
    except BaseException:  # Ctrl-C: leave no child behind
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@dataclass(frozen=True)
class LlamaTest:
    """One test of llama-bench."""

    prompt: int  # tokens prefilled and timed
    generate: int  # tokens decoded and timed
    depth: int  # tokens in the cache before either
    flash_attention: bool
    threads: int
    tokens_per_second: float
    model_bytes: int  # tensors only
    build: str


def parse_llama_bench(text: str) -> list[LlamaTest]:
    """The tests in the output of `llama-bench -o json`; raises BenchError for anything else."""
    try:
        entries = json.loads(text)
        return [_test(entry) for entry in entries]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BenchError(f"llama-bench printed no result that can be read ({type(error).__name__}: {error})") from error


def _test(entry: dict[str, Any]) -> LlamaTest:
    return LlamaTest(
        prompt=int(entry["n_prompt"]),
        generate=int(entry["n_gen"]),
        depth=int(entry.get("n_depth", 0)),
        flash_attention=int(entry.get("flash_attn", 0)) == 1,
        threads=int(entry["n_threads"]),
        tokens_per_second=float(entry["avg_ts"]),
        model_bytes=int(entry["model_size"]),
        build=f"{entry.get('build_commit', 'unknown')} ({entry.get('build_number', 0)})",
    )


def run_llama_bench(
    program: Path, model: Path, *, prompt: int, generate: int, depth: int, threads: int, flash_attention: bool
) -> tuple[LlamaTest, Finished]:
    """One process, one test, one repetition after llama-bench's own warm-up. Set either `prompt` or `generate` to 0."""
    command: list[str | Path] = [program, "-m", model, "-p", str(prompt), "-n", str(generate), "-t", str(threads)]
    command += ["-r", "1", "-fa", str(int(flash_attention)), "-o", "json"]
    if depth:
        command += ["-d", str(depth)]
    finished = run(command)
    tests = parse_llama_bench(finished.stdout)
    if len(tests) != 1 or (tests[0].prompt, tests[0].generate, tests[0].depth) != (prompt, generate, depth):
        asked = f"prompt {prompt}, generate {generate}, depth {depth}"
        raise BenchError(f"llama-bench was asked for {asked}; found {tests}")
    return tests[0], finished


def llama_convert_command(source: Path, target: Path) -> list[str | Path]:
    """HF folder -> bf16 GGUF."""
    script = LLAMA_CONVERT.find()
    if script is None:
        raise BenchError(LLAMA_CONVERT.absent())
    python = os.environ.get("QWEN3EDGE_LLAMA_PYTHON", sys.executable)
    head: list[str | Path] = [python, script] if script.suffix == ".py" else [script]
    return [*head, source, "--outtype", "bf16", "--outfile", target]


def llama_quantize_command(source: Path, target: Path, kind: str, threads: int) -> list[str | Path]:
    """bf16 GGUF -> Q4_0 or Q8_0 GGUF; a tied embedding becomes Q6_K in Q4_0, as llama-quantize decides."""
    program = LLAMA_QUANTIZE.find()
    if program is None:
        raise BenchError(LLAMA_QUANTIZE.absent())
    return [program, source, target, kind, str(threads)]


def own_command(*words: str | Path) -> list[str | Path]:
    """`qwen3edge ...` of the interpreter that runs the bench."""
    return [sys.executable, "-m", "qwen3edge", *words]
