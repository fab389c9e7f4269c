"""What `make demo` runs: the last thing is an answer of the server, which is gone then."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_the_demo(tmp_path):
    """In a folder of its own, with what is installed here."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "python").symlink_to(sys.executable)
    program = binaries / "qwen3edge"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m qwen3edge "$@"\n')
    program.chmod(0o755)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    command = ["sh", ROOT / "scripts" / "demo.sh"]
    found = subprocess.run(
        command, cwd=tmp_path, env={"BIN": str(binaries), "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (found.returncode, found.stderr) == (0, ""), found.stdout
    verbs = re.findall(r"\$ (?:qwen3edge )?(\w+)", found.stdout)
    assert verbs == ["convert", "plan", "run", "run", "bench", "serve", "curl"]
    answer = found.stdout.rpartition("\033[0m\n")[2]
    assert '"content": "12 + 7 = 19"' in answer and '"reasoning_content"' in answer
    told = (tmp_path / "build" / "demo" / "server.txt").read_text()
    port = re.search(r"http://127\.0\.0\.1:(\d+)", told)[1]
    assert f":{int(port):04X} 00000000:0000 0A" not in Path("/proc/net/tcp").read_text()
