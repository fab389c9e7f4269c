"""The command: as a user starts it, and in this process, which is sooner where no process is looked at."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import TextIO

import pytest

from qwen3edge.cli.main import main
from tests.one_core import on_one_core

COMMAND = [sys.executable, "-m", "qwen3edge"]
Result = subprocess.CompletedProcess[str]


def started(*arguments: object, stdin: str = "") -> Result:
    """A process of its own: for its memory, for what it imports, and once for each verb."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=120, check=False
    )


def run(*arguments: object, stdin: str = "") -> Result:
    """The same in this process, with streams of its own: a pipe to read from, files in UTF-8 to write to."""
    words = [*map(str, arguments)]
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch, on_one_core():
        out, err = (
            stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors=errors))
            for errors in ("strict", "backslashreplace")  # as the interpreter opens them
        )
        for name, stream in (("stdin", stack.enter_context(_given(stdin))), ("stdout", out), ("stderr", err)):
            patch.setattr(sys, name, stream)
        status = main(words)
        return subprocess.CompletedProcess(words, status, _written(out), _written(err))


@contextlib.contextmanager
def _given(text: str) -> Iterator[TextIO]:
    """A pipe with a text, which need not fit into it: the reader may also leave early."""
    reader, writer = os.pipe()

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), open(writer, "wb", 0) as pipe:
            rest = memoryview(text.encode())
            while rest:
                rest = rest[pipe.write(rest) :]

    thread = threading.Thread(target=write)
    thread.start()
    with open(reader, encoding="utf-8") as stream:
        yield stream
    thread.join()


def _written(stream: TextIO) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


def one_line(result: Result, status: int) -> str:
    """The error of a command that failed as it should."""
    assert result.returncode == status, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("qwen3edge: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    return result.stderr
