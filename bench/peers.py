"""Other engines to compare with: found by environment variable or on PATH, and named when absent.

llama-batched-bench gives prefill, decoding after that prompt and several sequences at once by one process each, where
llama-bench would prefill a second time to decode at a depth. For AVX2: cmake -DGGML_NATIVE=OFF -DGGML_AVX2=ON
-DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON, and for AVX-512: -DGGML_AVX512=ON -DGGML_AVX512_VNNI=ON besides.
QWEN3EDGE_LLAMA_PYTHON names the interpreter that has what convert_hf_to_gguf.py imports, this one by default;
QWEN3EDGE_OPENVINO_MODEL, for `make bench`, the checkpoint as OpenVINO's int4:

    optimum-cli export openvino -m FOLDER --task text-generation-with-past --weight-format int4 --sym \\
        --group-size 64 --ratio 1.0 OUT
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.quiet import BenchError

ROOT = Path(__file__).resolve().parents[1]


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

    def path(self) -> Path:
        """Raises BenchError where it is absent."""
        found = self.find()
        if found is None:
            raise BenchError(self.absent())
        return found

    def absent(self) -> str:
        return f"{self.peer}: absent ({self.program} is not on PATH and {self.variable} is not set)"


BATCHED = "llama-batched-bench"
LLAMA = Tool("llama.cpp", BATCHED, "QWEN3EDGE_LLAMA")  # built for this CPU
# For AVX-512 VNNI without AMX; the first one stands for it on a CPU without AMX.
LLAMA_AVX512 = Tool("llama.cpp for AVX-512", BATCHED, "QWEN3EDGE_LLAMA_AVX512", on_path=False)
LLAMA_AVX2 = Tool("llama.cpp for AVX2", BATCHED, "QWEN3EDGE_LLAMA_AVX2", on_path=False)
IK_LLAMA = Tool("ik_llama.cpp", BATCHED, "QWEN3EDGE_IK_LLAMA", on_path=False)
LLAMA_COMPLETION = Tool("llama.cpp", "llama-completion", "QWEN3EDGE_LLAMA_COMPLETION")  # for the start of a process
LLAMA_SERVER = Tool("llama.cpp", "llama-server", "QWEN3EDGE_LLAMA_SERVER")
LLAMA_QUANTIZE = Tool("llama.cpp", "llama-quantize", "QWEN3EDGE_LLAMA_QUANTIZE")
LLAMA_CONVERT = Tool("llama.cpp", "convert_hf_to_gguf.py", "QWEN3EDGE_LLAMA_CONVERT")
# Interpreters that have openvino-genai, or llama-cpp-python for llama.cpp's logits.
OPENVINO = Tool("OpenVINO GenAI", "python", "QWEN3EDGE_OPENVINO_PYTHON", on_path=False)
LLAMA_CPP_PYTHON = Tool("llama-cpp-python", "python", "QWEN3EDGE_LLAMA_CPP_PYTHON", on_path=False)
QUANTIZED = {"int4": "Q4_0", "int8": "Q8_0"}  # the peer's kind to hold a recipe of ours against


@dataclass(frozen=True)
class Finished:
    """A child process that ended with status 0."""

    stdout: str
    stderr: str
    seconds: float
    peak_bytes: int  # largest resident set, mapped pages included


def run(command: Sequence[object], timeout: float = 3600, environment: Mapping[str, str] | None = None) -> Finished:
    """Runs a child to its end; raises BenchError with its last words when it fails, or after `timeout` seconds.

    environment: what it has besides this process's.
    """
    words = [str(word) for word in command]
    variables = {**os.environ, **(environment or {})}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        _forget_own_peak()
        start = time.perf_counter()
        try:
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=variables)
        except OSError as error:
            raise BenchError(f"cannot run {words[0]}: {error.strerror}") from error
        child.returncode, peak = _wait(child.pid, timeout)
        seconds = time.perf_counter() - start
        out.seek(0)
        err.seek(0)
        finished = Finished(out.read(), err.read(), seconds, peak)
    name, status = Path(words[0]).name, child.returncode
    if status == -signal.SIGKILL and seconds >= timeout:
        raise BenchError(f"{name} took longer than {timeout:.0f} s and was stopped")
    if status != 0:
        last = [line.strip() for line in finished.stderr.splitlines() if line.strip()][-1:] or ["no message"]
        raise BenchError(f"{name} ended with {f'signal {-status}' if status < 0 else f'status {status}'}: {last[0]}")
    return finished


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
class BatchedTest:
    """One line of llama-batched-bench."""

    prompt: int  # tokens of each sequence that were prefilled
    generate: int  # tokens of each sequence that were decoded after them
    sequences: int
    prefill_tokens_per_second: float
    decode_tokens_per_second: float  # of all sequences together


BATCHED_COLUMNS = ("PP", "TG", "B", "N_KV", "T_PP s", "S_PP t/s", "T_TG s", "S_TG t/s", "T s", "S t/s")


def parse_batched_bench(text: str) -> list[BatchedTest]:
    """The lines of the table that llama-batched-bench prints, ik_llama.cpp's too; BenchError for anything else."""
    rows = [tuple(cell.strip() for cell in line.strip().strip("|").split("|")) for line in text.splitlines()]
    if BATCHED_COLUMNS not in rows:
        raise BenchError(f"llama-batched-bench printed no table with the columns {', '.join(BATCHED_COLUMNS)}")
    numbers = [row for row in rows if len(row) == len(BATCHED_COLUMNS) and row[0].isdecimal()]
    try:
        return [BatchedTest(int(r[0]), int(r[1]), int(r[2]), float(r[5]), float(r[7])) for r in numbers]
    except ValueError as error:
        raise BenchError(f"llama-batched-bench printed a line that cannot be read ({error})") from error


def batched_bench_command(
    program: Path, model: Path, *, prompt: int, generate: int, sequences: int, threads: int, flash_attention: bool
) -> list[object]:
    """One process, one test."""
    context = sequences * (prompt + generate)
    words: list[object] = [program, "-m", model, "-c", str(context), "-b", "2048", "-ub", "512"]
    words += ["-npp", str(prompt), "-ntg", str(generate), "-npl", str(sequences), "-t", str(threads)]
    return [*words, "-fa", "on" if flash_attention else "off"]


def llama_convert_command(source: Path, target: Path) -> list[object]:
    """HF folder -> bf16 GGUF."""
    script = LLAMA_CONVERT.path()
    python = os.environ.get("QWEN3EDGE_LLAMA_PYTHON", sys.executable)
    head: list[object] = [python, script] if script.suffix == ".py" else [script]
    return [*head, source, "--outtype", "bf16", "--outfile", target]


def llama_quantize_command(source: Path, target: Path, kind: str, threads: int) -> list[object]:
    """GGUF -> quantized GGUF; a tied embedding becomes Q6_K in Q4_0, as llama-quantize decides."""
    return [LLAMA_QUANTIZE.path(), source, target, kind, str(threads)]


def own_command(*words: object) -> list[object]:
    """`qwen3edge ...` of the interpreter that runs the bench."""
    return [sys.executable, "-m", "qwen3edge", *words]


def run_bench(module: str, *words: object) -> Finished:
    """`python -m bench.<module> ...`, from whatever folder."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return run([sys.executable, "-m", f"bench.{module}", *words], environment={"PYTHONPATH": path})


def json_of(finished: Finished, what: str) -> dict[str, Any]:
    """The one JSON object that a bench's child prints."""
    try:
        result: dict[str, Any] = json.loads(finished.stdout)
    except ValueError as error:
        raise BenchError(f"{what} printed no JSON: {finished.stdout[:80]!r}") from error
    return result


@contextlib.contextmanager
def memory_limit(nbytes: int, groups: Path = Path("/sys/fs/cgroup")) -> Iterator[tuple[str, ...]]:
    """The words before a command that run it in a control group of so much memory, the pages of files that it reads
    included. Raises BenchError where this process may not make one.
    """
    name = f"qwen3edge-bench-{os.getpid()}"
    unified = (groups / "cgroup.controllers").is_file()
    group, limit = (groups / name, "memory.max") if unified else (groups / "memory" / name, "memory.limit_in_bytes")
    try:
        group.mkdir()
    except OSError as error:
        raise BenchError(f"this process may not make a control group of limited memory: {error}") from error
    try:
        try:
            (group / limit).write_text(str(nbytes))
        except OSError as error:  # the controller is not ours to use
            raise BenchError(f"this process may not limit a control group's memory: {error}") from error
        yield ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group))
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


def read_through(path: Path) -> int:
    """Reads a file into the page cache; returns its bytes."""
    with path.open("rb") as file, Path(os.devnull).open("wb") as nowhere:
        shutil.copyfileobj(file, nowhere, 4 << 20)
        return file.tell()
