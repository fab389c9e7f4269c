"""The host's floating-point control word changes no bit, and is the host's again afterwards."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, hashlib, sys
import numpy as np
libm = ctypes.CDLL("libm.so.6")
path, mode, when, memory = sys.argv[1], int(sys.argv[2], 0), sys.argv[3], int(sys.argv[4])
tokens = np.arange(5, 45)
from qwen3edge import _core
def change():
    if mode == -1:
        assert libm.feenableexcept(0x1d) != -1
    else:
        assert libm.fesetround(mode) == 0
if when == "before": change()
file = _core.ModelFile(path)
engine = _core.Engine(file, context=64, threads=2, chunk=16, program=1 << 20, memory=memory)
sampler = _core.Sampler(vocabulary=file.get("qwen3edge.vocab_size"), temperature=0.9, top_k=0, top_p=0.95, seed=7)
if when == "after": change()
logits = engine.forward(tokens, tokens - 5, np.zeros(40, int), np.ones(40, bool))
rows = [logits[i % 40] for i in range(200)]
chosen = [(sampler.sample(row, index=i), sampler.logprobs(row, 7, 5)) for i, row in enumerate(rows)]
if mode != -1:
    assert libm.fegetround() == mode, "the caller's own is given back"
    libm.fesetround(0)
else:
    libm.fedisableexcept(0x3f)
print(hashlib.sha256(logits.tobytes()).hexdigest(), hashlib.sha256(repr(chosen).encode()).hexdigest())
"""

MODES = {
    "x86_64": {"down": 0x400, "up": 0x800, "zero": 0xC00},
    "aarch64": {"down": 0x800000, "up": 0x400000, "zero": 0xC00000},
}


def answer(path, mode, when, memory):
    command = [sys.executable, "-c", PROGRAM, str(path), str(mode), when, str(memory)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, (result.returncode, result.stderr)
    return result.stdout


@pytest.mark.skipif(platform.machine() not in MODES, reason="needs x86-64 or 64-bit Arm")
@pytest.mark.parametrize("quant", ["int4", "f32"])
def test_rounding_of_the_host(tiny_q3e, quant):
    path = tiny_q3e(quant)
    expected = answer(path, 0, "before", 1 << 30)
    for mode in MODES[platform.machine()].values():
        for when in ("before", "after"):
            assert answer(path, mode, when, 1 << 30) == expected, (hex(mode), when)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="traps are there on x86-64")
def test_a_host_that_traps(tiny_int4):
    """feenableexcept of all but inexact: a kernel that meets an overflow or an infinity is not killed for it."""
    assert answer(tiny_int4, -1, "after", 1 << 30) == answer(tiny_int4, 0, "before", 1 << 30)
