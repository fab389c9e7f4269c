"""The amx tier's object code itself: on a machine without AMX its instructions trap and a handler does what they do."""

import platform
import shutil
import subprocess

import pytest

from qwen3edge import _core
from tests.conftest import TOOLS


@pytest.mark.skipif("avx512" not in _core.isa_tiers(), reason="no AVX-512, which the amx tier builds on")
@pytest.mark.skipif(platform.system() != "Linux", reason="the handler reads Linux's signal frame")
def test_amx_object_code(c_build, seed):
    """matmul and attention against their scalar twins by ==, with two threads that have tiles of their own."""
    cmake = shutil.which("cmake", path=TOOLS)
    subprocess.run([cmake, "--build", c_build, "--target", "tile_traps"], check=True, stdout=subprocess.DEVNULL)
    program = c_build / "qwen3edge" / "tile_traps"
    result = subprocess.run([program, str(seed)], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    trapped = int(result.stdout.split()[-3])
    assert (trapped == 0) == ("amx" in _core.isa_tiers())
