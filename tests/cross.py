"""The core built for other machines, by a preset of csrc/CMakePresets.json, and programs of it run by QEMU."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from qwen3edge import _core
from tests.conftest import ROOT, TOOLS

PROMPT = [11, 22, 33, 44, 5, 6, 77, 88, 99, 10] * 9  # a page of the cache and a part
CHUNK = 37
FORMATS = [f["name"] for f in _core.block_formats() if f["name"] != "vector"]


def tool(*names: str) -> str:
    """The first of these programs that is there; skips the test when none is."""
    found = next(filter(None, (shutil.which(name, path=TOOLS) for name in names)), None)
    return found or pytest.skip(f"absent: {' or '.join(names)}")


def configure(preset: str, folder: Path, *settings: str) -> Path:
    """Configures csrc/ by a preset into the folder, which is returned; what is there already is not compiled again."""
    ninja = shutil.which("ninja", path=TOOLS)
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    command = [tool("cmake"), "--preset", preset, "-B", str(folder), *generator, *settings]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT / "csrc")
    return folder


def compile_targets(folder: Path, *targets: str) -> None:
    command = [tool("cmake"), "--build", str(folder), "--parallel", "2", "--target", *targets]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@dataclass(frozen=True)
class Machine:
    """One that QEMU knows: its preset, its QEMU, and the triple by which Debian's packages call it."""

    preset: str
    qemu: str
    triple: str

    @property
    def libraries(self) -> Path:
        return Path("/usr") / self.triple

    def build(self) -> Path:
        """The folder with libqwen3edge.so, compare_tiers, and logits of tests/logits.c."""
        tool(self.qemu)
        if not (self.libraries / "lib" / "libc.so.6").exists():
            pytest.skip(f"absent: the libraries of {self.triple}")
        tool(*(f"{self.triple}-gcc{v}" for v in ["", *(f"-{v}" for v in range(15, 10, -1))]))
        folder = configure(self.preset, ROOT / "build" / self.preset)
        compile_targets(folder, "qwen3edge", "compare_tiers", "logits")
        return folder

    def run(self, cpu: str, program: Path, *arguments: object, isa: str = "") -> "subprocess.CompletedProcess[bytes]":
        path = f"{program.parent}:{self.libraries / 'lib'}"
        command = [tool(self.qemu), "-cpu", cpu, "-L", self.libraries, "-E", f"LD_LIBRARY_PATH={path}", program]
        environment = os.environ | {"QWEN3EDGE_ISA": isa}
        return subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, check=False, timeout=600, env=environment
        )

    def logits(self, folder: Path, cpu: str, model: Path, kv: str = "int8", chunk: int = CHUNK, isa: str = ""):
        """A finished process that has printed the logits after each chunk of PROMPT."""
        return self.run(cpu, folder / "logits", model, kv, chunk, *PROMPT, isa=isa)


def expected_logits(model: Path, kv: str = "int8", chunk: int = CHUNK) -> np.ndarray:
    """What this machine computes of it."""
    engine = _core.Engine(_core.ModelFile(str(model)), context=512, kv=kv)
    n = len(PROMPT)
    want = np.array([(i + 1) % chunk == 0 or i + 1 == n for i in range(n)])
    return engine.forward(PROMPT, np.arange(n), np.zeros(n, int), want)


def same(result: "subprocess.CompletedProcess[bytes]", expected: np.ndarray) -> bool:
    assert result.returncode == 0, result.stderr
    found = np.frombuffer(result.stdout, np.float32).reshape(expected.shape)
    return bool((found == expected).all())


def compared_tiers(result: "subprocess.CompletedProcess[bytes]") -> list[str]:
    """The tiers that tests/ukernels/compare_tiers.cpp found on the machine, none of which differed."""
    text = result.stdout.decode()
    assert result.returncode == 0, text + result.stderr.decode()
    lines = [line.split() for line in text.splitlines()]
    assert all(int(line[1]) > 400 and line[3:] == ["0", "differ"] for line in lines), text
    return [line[0].rstrip(":") for line in lines]
