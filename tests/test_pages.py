"""Pages are short, name what is there, and every example of docs/python.md and docs/c.md does what it says."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
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


def test_c(linked, tiny_q3e, tmp_path):
    shutil.copyfile(tiny_q3e("bf16"), tmp_path / "model.q3e")
    found = [block for block in blocks("c.md") if block[0] in ("c", "cpp")]
    assert len(found) >= 4
    for number, (language, source, expected) in enumerate(found):
        path = tmp_path / f"{number}.{language}"
        path.write_text(source, encoding="utf-8")
        program = linked(path, path.with_suffix(""))
        result = subprocess.run([program], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
        assert (result.returncode, result.stdout, result.stderr) == (0, expected, ""), source


@pytest.mark.slow  # the library is built anew
def test_build_lines_of_c(tiny_q3e, tmp_path):
    """The console's lines, word for word, in a copy of what they need: only the folder that they build in differs."""
    lines = [line.removeprefix("$ ") for language, text, _ in blocks("c.md") if language == "console"
             for line in text.splitlines() if line.startswith("$ ")]  # fmt: skip
    assert any(line.startswith("cmake -S examples/c-chat -B build/c-chat") for line in lines)
    shutil.copyfile(tiny_q3e("bf16"), tmp_path / "model.q3e")
    environment = os.environ | {"PATH": TOOLS}
    for line in lines:
        changed = line.replace("model.q3e", str(tmp_path / "model.q3e"))
        result = subprocess.run(
            changed, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, (line, result.stderr)


# ---- what every page holds to ----

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]
README_LINES, PAGE_WORDS, ALL_WORDS = 120, 2500, 22000  # of docs/*.md; docs/decisions/ has tables
FOLDERS = ("csrc", "qwen3edge", "kernels", "tests", "bench", "scripts", "examples", "docs")
PATH = re.compile(rf"(?<![\w./~-])(?:{'|'.join(FOLDERS)})/[\w./*-]*(?![<\w])")
FILE = re.compile(r"`([\w-]+\.(?:cpp|h|py|md))`")  # of whichever folder the page speaks of
WRITTEN = {"qwen3edge_kernels.h", "convert_hf_to_gguf.py"}  # by `qwen3edge aot`; llama.cpp's
LINK = re.compile(r"\]\(([^)\s]+)\)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(match) for match in re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)}


def absent_paths(text: str) -> list[str]:
    """Paths and names of files that a text speaks of and the repository lacks; * stands for anything."""
    paths = [match[0].rstrip(".") for match in PATH.finditer(text)]
    absent = [path for path in paths if not any(ROOT.glob(path.rstrip("/")))]
    known = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")} | {path.name for path in PAGES}
    return absent + [found for found in FILE.findall(text) if found not in known | WRITTEN]


def dead_links(page: Path, text: str) -> list[str]:
    dead = []
    for link in LINK.findall(text):
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if target.startswith(("http://", "https://")):
            continue
        if not path.exists() or (anchor and anchor not in anchors(path)):
            dead.append(link)
    return dead


def commands(text: str) -> list[str]:
    """Lines that are typed: those of consoles, and indented ones."""
    joined = text.replace("\\\n", " ")
    return [
        match.removeprefix("$ ").partition(" #")[0] for match in re.findall(r"^(?:    |\$ )(.*)$", joined, re.MULTILINE)
    ]


def test_pages_are_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES
    words = {name(page): len(page.read_text(encoding="utf-8").split()) for page in ROOT.glob("docs/*.md")}
    assert {page: count for page, count in words.items() if count > PAGE_WORDS} == {}
    assert sum(words.values()) <= ALL_WORDS, words


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_names_what_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert absent_paths(text) == [] and dead_links(page, text) == []


def test_the_sources_name_pages_that_are_there() -> None:
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".h", ".cpp")]
    named = {page: path for path in [ROOT / "Makefile", *files]
             for page in re.findall(r"\bdocs/[\w/-]+\.(?:md|png)", path.read_text(encoding="utf-8"))}  # fmt: skip
    assert len(named) > 10
    assert {page: str(path) for page, path in named.items() if not (ROOT / page).exists()} == {}


def test_every_decision_is_listed() -> None:
    pages = {path.name for path in (ROOT / "docs" / "decisions").glob("*.md")} - {"README.md"}
    listed = LINK.findall((ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8"))
    assert pages == set(listed) - {".."} and len(listed) == len(pages) + 1


def test_what_is_not_there_is_seen() -> None:
    assert absent_paths("see csrc/core/nowhere.cpp, tests/data/tiny-*, kernels/<op>.py, bench/none.py.") == [
        "csrc/core/nowhere.cpp",
        "bench/none.py",
    ]
    assert absent_paths("`none.h` beside `kernels.h`") == ["none.h"]
    text = "[a](none.md) [b](format.md#nothing) [c](format.md#block-formats) [d](https://example.org)"
    assert dead_links(ROOT / "docs" / "memory.md", text) == ["none.md", "format.md#nothing"]
    assert commands("$ qwen3edge run a --file b # why\ntext\n    python x \\\n  --y") == [
        "qwen3edge run a --file b",
        "python x    --y",
    ]


def test_benches_and_their_options_are_there() -> None:
    pages = [page.read_text(encoding="utf-8") for page in PAGES]
    modules = {module.rstrip(".") for text in pages for module in re.findall(r"-m (bench\.[\w.]+)", text)}
    assert len(modules) >= 5 and {module for module in modules if find_spec(module) is None} == set()
    texts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "bench").rglob("*.py"))
    typed = [line for text in pages for line in commands(text) if " bench/" in line or " bench." in line]
    assert len(typed) > 10
    assert [line for line in typed if any(f'"{option}"' not in texts for option in OPTION.findall(line))] == []


def test_options_of_verbs_are_there() -> None:
    typed: dict[str, set[str]] = {}
    for page in PAGES:
        for line in commands(page.read_text(encoding="utf-8")):
            if match := re.match(r"qwen3edge ([a-z]+)\b", line):
                typed.setdefault(match[1], set()).update(OPTION.findall(line))
    assert len(typed) > 5
    for verb, options in typed.items():
        command = [sys.executable, "-m", "qwen3edge", verb, "--help"]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert result.returncode == 0, (verb, result.stderr)
        assert options <= set(OPTION.findall(result.stdout)), verb
