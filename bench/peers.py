"""Other engines to compare with: found by environment variable or on PATH, and named when absent.

| variable | what it names |
| --- | --- |
| QWEN3EDGE_LLAMA | llama.cpp's llama-batched-bench, built for this CPU |
| QWEN3EDGE_LLAMA_AVX512 | the same for AVX-512 VNNI without AMX; the first one stands for it on a CPU without AMX |
| QWEN3EDGE_LLAMA_AVX2 | the same, built for AVX2 |
| QWEN3EDGE_IK_LLAMA | ik_llama.cpp's llama-batched-bench |
| QWEN3EDGE_OPENVINO_PYTHON | an interpreter that has openvino-genai |
| QWEN3EDGE_OPENVINO_MODEL | for `make bench`: the checkpoint as OpenVINO's int4, exported as below |
| QWEN3EDGE_LLAMA_QUANTIZE | llama.cpp's llama-quantize |
| QWEN3EDGE_LLAMA_CONVERT | llama.cpp's convert_hf_to_gguf.py |
| QWEN3EDGE_LLAMA_CPP_PYTHON | an interpreter that has llama-cpp-python, for llama.cpp's logits |
| QWEN3EDGE_LLAMA_PYTHON | the interpreter that has what the script imports; this one by default |

llama-batched-bench gives prefill, decoding after that prompt and several sequences at once by one process each, where
llama-bench would prefill a second time to decode at a depth. For AVX2: cmake -DGGML_NATIVE=OFF -DGGML_AVX2=ON
-DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON, and for AVX-512: -DGGML_AVX512=ON -DGGML_AVX512_VNNI=ON besides.

    optimum-cli export openvino -m FOLDER --task text-generation-with-past --weight-format int4 --sym \\
        --group-size 64 --ratio 1.0 OUT
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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


LLAMA = Tool("llama.cpp", "llama-batched-bench", "QWEN3EDGE_LLAMA")
LLAMA_AVX512 = Tool("llama.cpp for AVX-512", "llama-batched-bench", "QWEN3EDGE_LLAMA_AVX512", on_path=False)
LLAMA_AVX2 = Tool("llama.cpp for AVX2", "llama-batched-bench", "QWEN3EDGE_LLAMA_AVX2", on_path=False)
IK_LLAMA = Tool("ik_llama.cpp", "llama-batched-bench", "QWEN3EDGE_IK_LLAMA", on_path=False)
OPENVINO = Tool("OpenVINO GenAI", "python", "QWEN3EDGE_OPENVINO_PYTHON", on_path=False)
LLAMA_QUANTIZE = Tool("llama.cpp", "llama-quantize", "QWEN3EDGE_LLAMA_QUANTIZE")
LLAMA_CONVERT = Tool("llama.cpp", "convert_hf_to_gguf.py", "QWEN3EDGE_LLAMA_CONVERT")
LLAMA_CPP_PYTHON = Tool("llama-cpp-python", "python", "QWEN3EDGE_LLAMA_CPP_PYTHON", on_path=False)
TOOLS = (LLAMA, LLAMA_AVX512, LLAMA_AVX2, IK_LLAMA, OPENVINO, LLAMA_QUANTIZE, LLAMA_CONVERT)


@dataclass(frozen=True)
class Finished:
    """A child process that ended with status 0."""

    stdout: str
    stderr: str
    seconds: float
    peak_bytes: int  # largest resident set, mapped pages included


def run(
    command: Sequence[str | Path],
    timeout: float = 3600.0,
    environment: Mapping[str, str] | None = None,
    cores: Collection[int] = (),
) -> Finished:
    """Runs a child to its end; raises BenchError with its last words when it fails, or after `timeout` seconds.

    environment: what it has besides this process's; cores: those that it may use, none for all.
    """
    words = [str(word) for word in command]
    variables = {**os.environ, **(environment or {})}
    usable = _usable_cores()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        _forget_own_peak()
        start = time.perf_counter()
        try:
            if cores:  # a child inherits the mask
                os.sched_setaffinity(0, cores)
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=variables)
        except OSError as error:
            raise BenchError(f"cannot run {words[0]}: {error.strerror}") from error
        finally:
            if cores:
                os.sched_setaffinity(0, usable)
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
        err.seek(0)
        return Finished(out.read(), err.read(), seconds, peak)


def _usable_cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


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
) -> list[str | Path]:
    """One process, one test."""
    context = sequences * (prompt + generate)
    words: list[str | Path] = [program, "-m", model, "-c", str(context), "-b", "2048", "-ub", "512"]
    words += ["-npp", str(prompt), "-ntg", str(generate), "-npl", str(sequences), "-t", str(threads)]
    return [*words, "-fa", "on" if flash_attention else "off"]


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
