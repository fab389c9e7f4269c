"""examples/rust and examples/jni, where their compilers are: the answers that Python gives for the same seed, cancelled
by another thread, and errors.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, TOOLS
from tests.test_chat_examples import QUESTIONS, expected_answers

pytestmark = pytest.mark.usefixtures("one_core")


def found(tool: str) -> str:
    return shutil.which(tool) or pytest.skip(f"expected {tool} on PATH")


def working_cargo() -> str:
    """One that rustup put there needs a toolchain as well, which another home may not have."""
    cargo = found("cargo")
    done = subprocess.run([cargo, "--version"], capture_output=True, text=True, check=False)
    return (
        cargo
        if done.returncode == 0
        else pytest.skip(f"expected a cargo that runs, found {done.stderr.partition(chr(10))[0]!r}")
    )


def rust(library: Path, folder: Path) -> list[str]:
    """The command of the crate's program, built without a network."""
    copy = folder / "crate"
    shutil.copytree(ROOT / "examples" / "rust", copy, ignore=shutil.ignore_patterns("target"))
    environment = os.environ | {"QWEN3EDGE_LIB": str(library), "RUSTFLAGS": "-D warnings"}
    subprocess.run([working_cargo(), "build", "--offline", "--quiet"], cwd=copy, env=environment, check=True)
    return [str(copy / "target" / "debug" / "rust-chat")]


def java(library: Path, folder: Path) -> list[str]:
    """The command of the class, with the JNI layer beside it."""
    sources = ROOT / "examples" / "jni"
    home = Path(found("javac")).resolve().parents[1]
    includes = [f"-I{home / 'include'}", f"-I{home / 'include' / 'linux'}", f"-I{ROOT / 'csrc' / 'include'}"]
    flags = ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", *includes]
    links = [f"-L{library}", "-lqwen3edge", f"-Wl,-rpath,{library}"]
    compiler = shutil.which("c++", path=TOOLS) or pytest.fail("expected c++ on PATH")
    made = [folder / "libqwen3edge_jni.so", folder / "classes"]
    subprocess.run([compiler, *flags, sources / "jni.cpp", *links, "-o", made[0]], check=True)
    classes = [sources / "Chat.java", *sorted(sources.glob("org/qwen3edge/*.java"))]
    subprocess.run(["javac", "-Xlint:all", "-Werror", "-d", made[1], *classes], check=True)
    return [found("java"), f"-Djava.library.path={folder}", "-cp", str(made[1]), "Chat"]


@pytest.fixture(scope="module", params=[rust, java])
def chat(request, c_build, tmp_path_factory):
    """The command of a program that chats."""
    library = next(c_build.rglob("libqwen3edge.so")).parent
    return request.param(library, tmp_path_factory.mktemp("binding"))


def run(chat, *arguments, questions=QUESTIONS):
    return subprocess.run(
        [*chat, *map(str, arguments)], input="".join(f"{each}\n" for each in questions), capture_output=True,
        encoding="utf-8", check=False, timeout=300, env=os.environ | {"LC_ALL": "C.UTF-8"},
    )  # fmt: skip


def test_same_answers_as_python(chat, tiny_int4, seed):
    contents, thoughts = expected_answers(tiny_int4, seed)
    result = run(chat, tiny_int4, seed)
    assert (result.returncode, result.stderr) == (0, "".join(thoughts))
    assert result.stdout == "".join(f"{content}\n" for content in contents)


def test_cancelled_by_another_thread(chat, tiny_int4):
    """After no time at all, within a prompt of some 1,800 tokens; the next question is asked all the same."""
    result = run(chat, tiny_int4, 1, 0, questions=["what is " * 600, "x"])
    assert result.returncode == 0 and "(cancelled)\n" in result.stderr


def test_errors_are_told(chat, tmp_path):
    result = run(chat, tmp_path / "absent.q3e")
    assert result.returncode == 1 and "absent.q3e: cannot open" in result.stderr and result.stdout == ""
    assert run(chat).returncode == 2
