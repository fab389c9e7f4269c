"""The core built for 64-bit Arm, run by QEMU on three of its CPUs: the logits of this machine, bit by bit.

Needs a cross compiler and qemu-user (Debian: g++-12-aarch64-linux-gnu, qemu-user)."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from qwen3edge import _core
from qwen3edge.convert import convert
from tests.conftest import ROOT, TOOLS

pytestmark = pytest.mark.slow
TRIPLE = "aarch64-linux-gnu"
PROMPT = [11, 22, 33, 44, 5, 6, 77, 88, 99, 10] * 9  # a page of the cache and a part
CHUNK = 37
FORMATS = [f["name"] for f in _core.block_formats() if f["name"] != "vector"]


def tool(*names):
    """The first of these programs that is there; skips the test when none is."""
    found = next(filter(None, (shutil.which(name, path=TOOLS) for name in names)), None)
    return found or pytest.skip(f"absent: {' or '.join(names)}")


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    """arm(cpu, model, kv, chunk, isa="") -> a finished process that has printed logits."""
    versions = [f"-{v}" for v in range(15, 10, -1)]
    cc, cxx = (tool(*(f"{TRIPLE}-{c}{v}" for v in ["", *versions])) for c in ("gcc", "g++"))
    qemu, cmake = tool("qemu-aarch64", "qemu-aarch64-static"), tool("cmake")
    ninja = shutil.which("ninja", path=TOOLS)
    folder, program = ROOT / "build" / TRIPLE, tmp_path_factory.mktemp("arm") / "logits"
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    target = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64"]
    compilers = [f"-DCMAKE_C_COMPILER={cc}", f"-DCMAKE_CXX_COMPILER={cxx}"]
    include, source = ROOT / "csrc" / "include", ROOT / "tests" / "logits.c"
    for command in (
        [cmake, "-S", ROOT / "csrc", "-B", folder, *generator, *target, *compilers],
        [cmake, "--build", folder, "--parallel", "2"],
        [cc, "-std=c99", "-I", include, source, "-L", folder, "-lqwen3edge", "-o", program],
    ):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    libc = subprocess.run([cc, "-print-file-name=libc.so.6"], capture_output=True, text=True, check=True).stdout
    system = Path(libc.strip()).resolve().parent.parent

    def run(cpu, model, kv, chunk, isa=""):
        guest = ["-L", system, "-E", f"LD_LIBRARY_PATH={folder}:{system / 'lib'}"]
        environment = os.environ | {"QWEN3EDGE_ISA": isa}
        command = [qemu, "-cpu", cpu, *guest, program, model, kv, str(chunk), *map(str, PROMPT)]
        return subprocess.run(command, capture_output=True, check=False, timeout=300, env=environment)

    return run


def expected_logits(model, kv="int8", chunk=CHUNK):
    engine = _core.Engine(_core.ModelFile(str(model)), context=512, kv=kv)
    n = len(PROMPT)
    want = np.array([(i + 1) % chunk == 0 or i + 1 == n for i in range(n)])
    return engine.forward(PROMPT, np.arange(n), np.zeros(n, int), want)


def same(result, expected):
    assert result.returncode == 0, result.stderr
    found = np.frombuffer(result.stdout, np.float32).reshape(expected.shape)
    return bool((found == expected).all())


@pytest.mark.parametrize(("cpu", "isa"), [("max", "neon"), ("neoverse-n1", "neon"), ("cortex-a72", "scalar")])
@pytest.mark.parametrize("kv", ["int8", "int4", "bf16", "f32"])
def test_same_logits(arm, tiny_int4, cpu, isa, kv):
    expected = expected_logits(tiny_int4, kv)
    assert same(arm(cpu, tiny_int4, kv, CHUNK, isa), expected)
    if kv == "int8":  # left alone, the engine takes what the CPU has: a wrong tier would die of SIGILL
        assert same(arm(cpu, tiny_int4, kv, CHUNK), expected)


def test_a_tier_that_is_not_there(arm, tiny_int4):
    result = arm("cortex-a72", tiny_int4, "int8", CHUNK, "neon")
    assert result.returncode == 1 and b"expected one of scalar on this machine, found 'neon'" in result.stderr


@pytest.mark.parametrize("quant", FORMATS)
def test_same_logits_of_formats(arm, tiny_q3e, quant):
    """In chunks and one token at a time."""
    model = tiny_q3e(quant)
    for chunk in (CHUNK, 1):
        assert same(arm("max", model, "int8", chunk, "neon"), expected_logits(model, chunk=chunk))


def test_same_logits_of_experts(arm, tiny_moe_path, tmp_path):
    model = tmp_path / "moe.q3e"
    convert(tiny_moe_path, model, "int4")
    assert same(arm("max", model, "int8", CHUNK, "neon"), expected_logits(model))
