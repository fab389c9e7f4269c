"""A new seed for each test run, printed when a test fails (QWEN3EDGE_SEED repeats one); models that tests share."""

import fcntl
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from qwen3edge.convert import convert
from tests.one_core import on_one_core

ROOT = Path(__file__).resolve().parent.parent
TOOLS = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # a venv has cmake and ninja
TINY = Path(__file__).parent / "data" / "tiny-qwen3"
TINY_MOE = TINY.with_name("tiny-qwen3-moe")
TINY_QWEN2 = TINY.with_name("tiny-qwen2")
TINY_HYBRID = TINY.with_name("tiny-qwen3-5")

settings.register_profile("busy machines", deadline=None)  # no test is timed
settings.load_profile("busy machines")

# Processes of their own (tests/run.py); collected where they are named.
collect_ignore = ["kernels", "kernels_compiled"]


@pytest.fixture
def seed() -> int:
    value = int(os.environ.get("QWEN3EDGE_SEED") or secrets.randbits(32))
    print(f"QWEN3EDGE_SEED={value}")
    return value


@pytest.fixture(scope="module")
def one_core():
    """For tests to which the threads of a model do not matter."""
    with on_one_core():
        yield


@pytest.fixture(scope="session")
def tiny_model_path() -> Path:
    """The tiny trained Qwen3 of this repository, a Hugging Face folder."""
    return TINY


@pytest.fixture(scope="session")
def tiny_moe_path(tmp_path_factory) -> Path:
    """The tiny trained Qwen3-MoE, with the dense one's tokenizer and held-out items beside it."""
    return with_tokenizer(TINY_MOE, tmp_path_factory.mktemp(TINY_MOE.name))


@pytest.fixture(scope="session")
def tiny_qwen2_path(tmp_path_factory) -> Path:
    """The tiny Qwen2, with the Qwen3's tokenizer and held-out items beside it."""
    return with_tokenizer(TINY_QWEN2, tmp_path_factory.mktemp(TINY_QWEN2.name))


@pytest.fixture(scope="session")
def tiny_hybrid_path(tmp_path_factory) -> Path:
    """The tiny trained Qwen3.5, with its own tokenizer and the Qwen3's held-out items beside it."""
    return with_tokenizer(TINY_HYBRID, tmp_path_factory.mktemp(TINY_HYBRID.name))


def with_tokenizer(model: Path, folder: Path) -> Path:
    for path in (*TINY.iterdir(), *model.iterdir()):  # the second has the last word
        if path.is_file() and path.name != "README.md":
            shutil.copyfile(path, folder / path.name)
    return folder


@pytest.fixture(scope="session")
def tiny_q3e(tmp_path_factory):
    """tiny_q3e("int4"): the tiny model as a `.q3e` file of any quant, converted once."""
    folder = tmp_path_factory.mktemp("tiny")

    def converted(quant: str = "int4") -> Path:
        target = folder / f"{quant}.q3e"
        if not target.exists():
            convert(TINY, target, quant)
        return target

    return converted


@pytest.fixture(scope="session")
def tiny_int4(tiny_q3e) -> Path:
    """The path of the tiny model in int4."""
    return Path(tiny_q3e("int4"))


@pytest.fixture(scope="session")
def core_build() -> Path:
    """The folder with the core as the extension was made of it: its static library and its objects."""
    found = [path.parent for path in (ROOT / "build").glob("*/libqwen3edge_core.a")]
    ours = [path for path in found if path.name == f"cmake-{sys.implementation.cache_tag}"] or found
    return ours[0] if ours else pytest.fail("expected build/*/libqwen3edge_core.a, which `make` leaves, found none")


@pytest.fixture(scope="session")
def c_build(core_build) -> Path:
    """examples/c-tokens and the C library, by CMake on the core that is there; a slow test compiles it too."""
    with (ROOT / "build" / "c-tests.lock").open("w") as lock:  # the second worker finds it built
        fcntl.flock(lock, fcntl.LOCK_EX)
        return build_example(ROOT / "build" / "c-tests", f"-DQWEN3EDGE_CORE={core_build / 'libqwen3edge_core.a'}")


@pytest.fixture(scope="session")
def linked(c_build):
    """linked(source, program): what cc or c++ makes of a file, with the library of `c_build`; a program's path."""
    library = next(c_build.rglob("libqwen3edge.so")).parent

    def link(source: Path, program: Path) -> Path:
        name, standard = ("cc", "c99") if source.suffix == ".c" else ("c++", "c++20")
        compiler = shutil.which(name, path=TOOLS) or pytest.fail(f"expected {name} on PATH")
        flags = [f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{ROOT / 'csrc' / 'include'}"]
        libraries = [f"-L{library}", "-lqwen3edge", f"-Wl,-rpath,{library}", "-pthread"]
        subprocess.run([compiler, *flags, source, *libraries, "-o", program], check=True)
        return program

    return link


def build_example(folder: Path, *settings: str, name: str = "c-tokens") -> Path:
    """One of examples/ in that folder, which is returned. What is there already is not compiled again."""
    cmake = shutil.which("cmake", path=TOOLS) or pytest.fail("expected cmake on PATH")
    ninja = shutil.which("ninja", path=TOOLS)
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    subprocess.run(
        [cmake, "-S", ROOT / "examples" / name, "-B", folder, *generator, *settings],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    subprocess.run([cmake, "--build", folder, "--parallel", "2"], check=True, stdout=subprocess.DEVNULL)
    return folder
