"""Every example of docs/python.md and docs/c.md does what the page says."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, TOOLS

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$(?:\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str, str]]:
    """(language, text, what it prints) of each example."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [(match[1], match[2], match[3] or "") for match in BLOCK.finditer(text)]


# A process of its own, as a reader's: the examples have a budget, and this process has imported torch.
RUN = """
import contextlib, io, json, sys
names, printed = {}, []
for source in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(source, "docs/python.md", "exec"), names)
    printed.append(out.getvalue())
print(json.dumps(printed))
"""


def test_python(tiny_q3e, tmp_path):
    shutil.copyfile(tiny_q3e("bf16"), tmp_path / "model.q3e")
    found = blocks("python.md")
    assert len(found) >= 9 and {language for language, _, _ in found} == {"python"}
    sources = json.dumps([source for _, source, _ in found])
    command = [sys.executable, "-c", RUN]
    result = subprocess.run(command, input=sources, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for (_, source, expected), printed in zip(found, json.loads(result.stdout), strict=True):
        assert printed == expected, source


@pytest.fixture
def compiled(c_build, tmp_path):
    """compiled(source): the program that cc makes of it, beside the library of the page's build lines."""
    compiler = shutil.which("cc", path=TOOLS) or pytest.fail("expected cc on PATH")
    library = next(c_build.rglob("libqwen3edge.so")).parent

    def build(source: str) -> Path:
        path = tmp_path / "program.c"
        path.write_text(source, encoding="utf-8")
        flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{ROOT / 'csrc' / 'include'}"]
        link = [f"-L{library}", "-lqwen3edge", f"-Wl,-rpath,{library}", "-pthread", "-o", path.with_suffix("")]
        subprocess.run([compiler, *flags, path, *link], check=True)
        return path.with_suffix("")

    return build


def test_c(compiled, tiny_q3e, tmp_path):
    shutil.copyfile(tiny_q3e("bf16"), tmp_path / "model.q3e")
    found = [block for block in blocks("c.md") if block[0] == "c"]
    assert len(found) >= 2
    for _, source, expected in found:
        result = subprocess.run(
            [compiled(source)], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
        )
        assert (result.returncode, result.stdout, result.stderr) == (0, expected, ""), source


def test_build_lines_of_c(tiny_q3e, tmp_path):
    """The console's lines, word for word, in a copy of what they need: only the folder that they build in differs."""
    lines = [line.removeprefix("$ ") for language, text, _ in blocks("c.md") if language == "console"
             for line in text.splitlines() if line.startswith("$ ")]  # fmt: skip
    assert any(line.startswith("cmake -S examples/c-tokens -B build/c-tokens") for line in lines)
    shutil.copyfile(tiny_q3e("bf16"), tmp_path / "model.q3e")
    environment = os.environ | {"PATH": TOOLS}
    for line in lines:
        changed = line.replace("model.q3e", str(tmp_path / "model.q3e"))
        result = subprocess.run(
            changed, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, (line, result.stderr)
